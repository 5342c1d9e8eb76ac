import numpy as np
import pytest
import torch

from mixgym.corpus import Corpus, load_corpus
from mixgym.errors import CheckpointError
from mixgym.lm.batched.stream import BatchedStream
from mixgym.lm.stream import MixtureStream

B, CONTEXT = 8, 32


def mixtures(rng: np.random.Generator, N: int, K: int) -> np.ndarray:
    """Mixtures of every kind: flat, sharp, with zeros, single domains, sums off by rounding."""
    weights = rng.dirichlet(np.full(K, rng.choice([0.05, 0.5, 5.0])), N)
    weights[rng.random((N, K)) < rng.choice([0.0, 0.4])] = 0.0
    weights[weights.sum(axis=1) == 0, 0] = 1.0
    weights = weights / weights.sum(axis=1, keepdims=True)
    weights[rng.random(N) < 0.1] = np.eye(K)[rng.integers(K)]
    weights[rng.random(N) < 0.1] = 1 / K
    return weights.astype(np.float32).astype(np.float64)


@pytest.fixture(scope="module")
def short() -> Corpus:
    """A corpus of which some domains go through many epochs."""
    limit = {"recipes": 1500, "python": 4000}
    return load_corpus("nano8", domains=["recipes", "python", "icd10"], limit=limit)


def test_batches_are_those_of_single_streams(short: Corpus) -> None:
    rng = np.random.default_rng(0)
    N, seeds = 7, [3, 0, 3, 2**62, 17, 5, 6]
    batched = BatchedStream(short, B, CONTEXT, seeds)
    singles = [MixtureStream(short, B, CONTEXT, seed) for seed in seeds]
    for _ in range(40):
        weights, n = mixtures(rng, N, short.K), int(rng.integers(1, 9))
        draws = batched.draw(weights, n)
        tokens = batched.tokens(torch.from_numpy(draws.starts)).numpy()
        for i, stream in enumerate(singles):
            for step, batch in enumerate(stream.batches(weights[i], n)):
                assert np.array_equal(batch.domains, draws.domains[i, step])
                assert np.array_equal(batch.tokens, tokens[i, step])
            assert stream.state_dict() == batched.single(i).state_dict()
    assert batched.epochs[:, 0].min() > 5
    assert np.array_equal(batched.drawn, [stream.drawn for stream in singles])


def test_the_whole_corpus_too(nano8: Corpus) -> None:
    batched = BatchedStream(nano8, B, CONTEXT, range(3))
    weights = mixtures(np.random.default_rng(1), 3, 8)
    draws = batched.draw(weights, 50)
    for i in range(3):
        batches = list(MixtureStream(nano8, B, CONTEXT, i).batches(weights[i], 50))
        tokens = batched.tokens(torch.from_numpy(draws.starts[i])).numpy()
        assert np.array_equal(np.stack([batch.tokens for batch in batches]), tokens)


def test_runs_that_do_not_draw_stay_where_they_are(short: Corpus) -> None:
    batched = BatchedStream(short, B, CONTEXT, range(4))
    weights = mixtures(np.random.default_rng(2), 4, short.K)
    batched.draw(weights, 3)
    before = [batched.single(i).state_dict() for i in range(4)]
    draws = batched.draw(weights[[3, 1]], 2, np.array([3, 1]))
    for place, i in enumerate((3, 1)):
        stream = MixtureStream(short, B, CONTEXT, i)
        stream.load_state_dict(before[i])
        found = [batch.domains for batch in stream.batches(weights[i], 2)]
        assert np.array_equal(found, draws.domains[place])
    assert batched.single(0).state_dict() == before[0]
    assert batched.single(2).state_dict() == before[2]


def test_restarted_runs_begin_anew(short: Corpus) -> None:
    batched = BatchedStream(short, B, CONTEXT, range(3))
    weights = mixtures(np.random.default_rng(3), 3, short.K)
    batched.draw(weights, 30)
    batched.restart(np.array([1]), [99])
    draws = batched.draw(weights[[1]], 2, np.array([1]))
    fresh = BatchedStream(short, B, CONTEXT, [99]).draw(weights[[1]], 2)
    assert np.array_equal(draws.starts, fresh.starts)


def test_state_resumes_exactly(short: Corpus) -> None:
    a, b = BatchedStream(short, B, CONTEXT, [1, 2]), BatchedStream(short, B, CONTEXT, [8, 9])
    weights = mixtures(np.random.default_rng(4), 2, short.K)
    a.draw(weights, 40)
    b.load_state_dict(a.state_dict())
    assert np.array_equal(a.draw(weights, 40).starts, b.draw(weights, 40).starts)


def test_states_of_others_are_refused(short: Corpus, two_domains: Corpus) -> None:
    state = BatchedStream(short, B, CONTEXT, [1, 2]).state_dict()
    with pytest.raises(CheckpointError, match="corpus"):
        BatchedStream(two_domains, B, CONTEXT, [1, 2]).load_state_dict(state)
    with pytest.raises(CheckpointError, match="holds 2 runs"):
        BatchedStream(short, B, CONTEXT, [1]).load_state_dict(state)


def test_bad_mixtures_are_refused_by_row(short: Corpus) -> None:
    batched = BatchedStream(short, B, CONTEXT, [1, 2])
    with pytest.raises(ValueError, match="mixture 1: the weight of domain 'python'"):
        batched.draw([[1, 0, 0], [1, -1, 1]], 1)
    with pytest.raises(ValueError, match="mixture 0: all weights are zero"):
        batched.draw([[0, 0, 0], [1, 0, 0]], 1)
    with pytest.raises(ValueError, match="1 mixtures for 2 runs"):
        batched.draw([[1, 0, 0]], 1)
