import numpy as np
import pytest

from mixgym.corpus import Corpus, load_corpus
from mixgym.errors import CheckpointError, CorpusError
from mixgym.lm.stream import MixtureStream


def stream(corpus: Corpus, seed: int = 0, batch_size: int = 8, context: int = 32) -> MixtureStream:
    return MixtureStream(corpus, batch_size, context, seed)


def windows_by_domain(s: MixtureStream, mixture: list[float], n: int) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for batch in s.batches(np.array(mixture), n):
        for tokens, k in zip(batch.tokens, batch.domains, strict=True):
            found.setdefault(int(k), []).append(tokens.astype(np.uint8).tobytes())
    return found


def test_counts_follow_a_changing_mixture_to_within_a_sequence(nano8: Corpus) -> None:
    s = stream(nano8)
    rng = np.random.default_rng(0)
    exact = np.zeros(8)
    for _ in range(200):
        mixture = rng.dirichlet(np.full(8, 0.3))
        for _ in s.batches(mixture, 1):
            exact += 8 * mixture
        assert np.abs(s.drawn - exact).max() < 2.0
    assert s.drawn.sum() == 200 * 8


def test_a_tiny_weight_is_drawn_in_due_time(two_domains: Corpus) -> None:
    s = stream(two_domains)
    list(s.batches(np.array([0.999, 0.001]), 250))
    assert s.drawn.tolist() == [1998, 2]


def test_zero_weight_is_never_drawn(two_domains: Corpus) -> None:
    s = stream(two_domains)
    assert set(windows_by_domain(s, [0.0, 1.0], 20)) == {1}


def test_order_of_a_domain_does_not_depend_on_the_mixture(two_domains: Corpus) -> None:
    a = windows_by_domain(stream(two_domains), [0.5, 0.5], 20)
    b = windows_by_domain(stream(two_domains), [0.1, 0.9], 20)
    for k in (0, 1):
        n = min(len(a[k]), len(b[k]))
        assert n > 10
        assert a[k][:n] == b[k][:n]


def test_order_does_not_depend_on_the_other_domains() -> None:
    alone = load_corpus("nano8", domains=["python"])
    both = load_corpus("nano8", domains=["recipes", "python"])
    a = windows_by_domain(stream(alone), [1.0], 4)[0]
    b = windows_by_domain(stream(both), [0.5, 0.5], 8)[1]
    assert a == b


def test_seeds_differ(two_domains: Corpus) -> None:
    a, b = (windows_by_domain(stream(two_domains, seed=s), [1.0, 0.0], 5) for s in (0, 1))
    assert a != b


def test_every_window_once_an_epoch() -> None:
    corpus = load_corpus("nano8", domains=["recipes"], limit={"recipes": 10_000})
    s = stream(corpus)
    n = int(s.windows[0])
    assert n == (10_000 - 1) // 32
    s2 = MixtureStream(corpus, 1, 32, 0)
    text = bytes(corpus.domain("recipes").tokens("train"))
    expected = sorted(text[i * 32 : i * 32 + 33] for i in range(n))
    drawn = windows_by_domain(s2, [1.0], 2 * n)[0]
    assert sorted(drawn[:n]) == expected
    assert sorted(drawn[n:]) == expected
    assert drawn[:n] != drawn[n:]
    assert s2.epochs.tolist() == [2.0]


def test_state_is_small_and_resumes_exactly(nano8: Corpus) -> None:
    mixture = nano8.natural
    a = stream(nano8)
    list(a.batches(mixture, 13))
    state = a.state_dict()
    assert len(str(state)) < 2000
    b = stream(nano8, seed=99)
    b.load_state_dict(state)
    for x, y in zip(a.batches(mixture, 7), b.batches(mixture, 7), strict=True):
        assert np.array_equal(x.tokens, y.tokens)
        assert np.array_equal(x.domains, y.domains)


def test_nothing_depends_on_how_many_batches_are_asked_for_at_a_time() -> None:
    # Several epochs of the smaller domain, within and across what is drawn ahead.
    corpus = load_corpus("nano8", domains=["recipes", "python"], limit={"recipes": 3000})
    mixture = np.array([0.7, 0.3])
    single, many = stream(corpus), stream(corpus)
    expected = [next(single.batches(mixture, 1)) for _ in range(100)]
    for n in (33, 1, 66):
        for batch in many.batches(mixture, n):
            other = expected.pop(0)
            assert np.array_equal(batch.tokens, other.tokens)
            assert np.array_equal(batch.domains, other.domains)
    assert many.state_dict() == single.state_dict()
    assert many.epochs[0] > 5


def test_state_of_another_corpus_is_refused(nano8: Corpus, two_domains: Corpus) -> None:
    with pytest.raises(CheckpointError, match="belongs to corpus"):
        stream(two_domains).load_state_dict(stream(nano8).state_dict())


def test_a_domain_below_one_window_is_named() -> None:
    corpus = load_corpus("nano8", domains=["recipes", "python"], limit={"python": 100})
    with pytest.raises(CorpusError, match=r"'python'.*context"):
        stream(corpus, context=128)


@pytest.mark.parametrize("bad", [[0.5, -0.5], [np.nan, 1.0], [0.2, 0.2], [1.0], [0.0, 0.0]])
def test_bad_mixtures_are_refused(two_domains: Corpus, bad: list[float]) -> None:
    with pytest.raises(ValueError):
        list(stream(two_domains).batches(np.array(bad), 1))
