"""Domain gradients against per-domain autograd, and their harmlessness."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from test_training import SETTINGS, TINY, parameters, through_disk, trajectory
from torch.nn import functional

from mixgym.corpus import Corpus, load_corpus
from mixgym.errors import MixgymError, UnknownNameError
from mixgym.lm.gradients import DomainGradients, alignment
from mixgym.lm.settings import GradientSettings, gpt_neox
from mixgym.lm.training import TrainingRun
from tests.tiny import LLAMA

NEOX = gpt_neox(16, 2, 2)
GPT2 = {
    **{"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2},
    **{"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    **{"bos_token_id": 0, "eos_token_id": 0},
}
ALL = GradientSettings(
    kinds=("gram", "objective", "variance"), objective=(0.25, 0.0, 0.75), windows=3, last_n=0
)
UNIFORM = np.full(3, 1 / 3)


@pytest.fixture(scope="module")
def three_domains() -> Corpus:
    return load_corpus("nano8", domains=["recipes", "python", "icd10"])


def make(
    corpus: Corpus, gradients: GradientSettings | None = ALL, model: Any = NEOX, **changes: Any
) -> TrainingRun:
    settings = SETTINGS.updated({"batch_size": 8, **changes})
    return TrainingRun(corpus, model, total_steps=100, settings=settings, gradients=gradients)


def matrices(run: TrainingRun, settings: GradientSettings = ALL) -> list[torch.nn.Parameter]:
    return DomainGradients(run.model, settings, run.corpus.K).weights


def autograd(run: TrainingRun, tokens: np.ndarray) -> torch.Tensor:
    """The gradient of the sequences' mean loss in the chosen matrices, by a pass of its own."""
    windows = torch.from_numpy(tokens)
    with run.autocast():
        logits = run.model(input_ids=windows[:, :-1], use_cache=False).logits
    loss = functional.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())
    grads = torch.autograd.grad(loss, matrices(run))
    return torch.cat([g.flatten() for g in grads]).double()


def expected_gradients(
    run: TrainingRun, mixture: np.ndarray, steps: int, **arguments: Any
) -> torch.Tensor:
    """(K, D) mean over a decision's sequences of the autograd gradient at each step's weights."""
    twin = run.fork()
    stream = copy.deepcopy(twin.stream)
    total: dict[int, Any] = {}
    count = np.zeros(run.corpus.K)
    for batch in stream.batches(mixture, steps):
        for k in np.unique(batch.domains):
            own = batch.tokens[batch.domains == k]
            total[k] = total.get(k, 0.0) + len(own) * autograd(twin, own)
            count[k] += len(own)
        twin.advance(mixture, 1, **arguments)
    size = sum(w.numel() for w in matrices(run))
    nothing = torch.full((size,), float("nan"), dtype=torch.float64)
    return torch.stack([total[k] / count[k] if count[k] else nothing for k in range(run.corpus.K)])


def assert_signals(signals: Any, expected: torch.Tensor, rtol: float = 2e-5) -> None:
    gram = (expected @ expected.T).numpy()
    scale = np.nanmax(np.abs(gram))
    np.testing.assert_allclose(signals.gram, gram, rtol=rtol, atol=rtol * scale)
    np.testing.assert_allclose(signals.gradient_norms, expected.norm(dim=1), rtol=rtol)
    others = np.array([[gram[i, j] for j in range(3) if j != i] for i in range(3)])
    sums = np.where(np.isnan(np.diagonal(gram)), np.nan, np.nansum(others, axis=1))
    np.testing.assert_allclose(signals.alignment, sums, rtol=rtol, atol=2 * rtol * scale)


@pytest.mark.parametrize("model", [NEOX, LLAMA, GPT2], ids=["gpt_neox", "llama", "gpt2"])
def test_equal_to_per_domain_autograd(three_domains: Corpus, model: Any) -> None:
    mixture = np.array([0.5, 0.375, 0.125])
    run = make(three_domains, model=model)
    expected = expected_gradients(run, mixture, 1)
    assert_signals(run.advance(mixture, 1), expected)


def test_equal_to_autograd_entry_by_entry(three_domains: Corpus) -> None:
    run = make(three_domains)
    expected = expected_gradients(run, UNIFORM, 1)
    run.advance(UNIFORM, 1)
    assert run._gradients is not None
    found = torch.cat([mean.flatten(1) for mean in run._gradients.means()], dim=1)
    np.testing.assert_allclose(found, expected, atol=1e-6 * float(expected.abs().max()), rtol=1e-5)


def test_accumulated_over_the_steps_of_a_decision(three_domains: Corpus) -> None:
    run = make(three_domains)
    for mixture, steps in ((np.array([0.6, 0.3, 0.1]), 3), (UNIFORM, 2)):
        expected = expected_gradients(run, mixture, steps)
        assert_signals(run.advance(mixture, steps), expected)


def test_accumulated_over_micro_batches(three_domains: Corpus) -> None:
    """Two backward passes over halves of a batch measure what one pass over all of it does."""
    run = make(three_domains)
    batch = next(iter(run.stream.batches(UNIFORM, 1)))
    results = []
    for parts in (1, 2, 4):
        gradients = DomainGradients(run.model, ALL, 3)
        for index in np.split(np.arange(8), parts):
            windows = torch.from_numpy(batch.tokens[index])
            with gradients.capture(batch.domains[index]):
                logits = run.model(input_ids=windows[:, :-1]).logits
                functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).backward()
        results.append(torch.cat([mean.flatten(1) for mean in gradients.means()], dim=1))
    run.model.zero_grad()
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[2], results[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", [NEOX, GPT2], ids=["gpt_neox", "gpt2"])
@pytest.mark.parametrize("kinds", [("gram",), ("gram", "variance")])
def test_large_matrices_are_done_in_parts(
    three_domains: Corpus, monkeypatch: pytest.MonkeyPatch, kinds: Any, model: Any
) -> None:
    """A few sequences at a time, or without variances one product a domain."""
    settings = GradientSettings(kinds=kinds, last_n=0)
    mixture, weights = np.array([0.7, 0.2, 0.1]), [1.0, 4.0, 2.0]
    whole = make(three_domains, settings, model)
    results = [whole.advance(mixture, 3, loss_weights=weights)]
    for chunk in (1, 3 * 16 * 64):
        monkeypatch.setattr("mixgym.lm.gradients._CHUNK", chunk)
        part = make(three_domains, settings, model)
        results.append(part.advance(mixture, 3, loss_weights=weights))
    for other in results[1:]:
        for name in ("gram", "alignment", "gradient_variance"):
            np.testing.assert_allclose(
                getattr(other, name), getattr(results[0], name), rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("model", [NEOX, GPT2], ids=["gpt_neox", "gpt2"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("chunk", [1, 2**22])
def test_a_power_of_two_may_be_multiplied_by_anywhere(
    three_domains: Corpus,
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
    precision: str,
    model: Any,
) -> None:
    monkeypatch.setattr("mixgym.lm.gradients._CHUNK", chunk)
    settings = GradientSettings(last_n=0)
    late = make(three_domains, settings, model, precision=precision, batch_size=8)
    first = late.fork()
    signals = late.advance(UNIFORM, 3)
    monkeypatch.setattr("mixgym.lm.gradients._exact_inverse", lambda shares: None)
    expected = first.advance(UNIFORM, 3)
    np.testing.assert_array_equal(signals.gram, expected.gram)
    assert late._gradients is not None and first._gradients is not None
    for a, b in zip(late._gradients.sums, first._gradients.sums, strict=True):
        assert torch.equal(a, b)


def test_clipping_does_not_touch_them(three_domains: Corpus) -> None:
    free = make(three_domains, clip=1e6).advance(UNIFORM, 1)
    clipped = make(three_domains, clip=1e-3).advance(UNIFORM, 1)
    assert free.gradient_norms.min() > 1e-2
    np.testing.assert_array_equal(free.gram, clipped.gram)
    np.testing.assert_array_equal(free.gradient_variance, clipped.gradient_variance)


def test_reweighting_the_loss_does_not_touch_them(three_domains: Corpus) -> None:
    weights = [4.0, 0.5, 1.0]
    run = make(three_domains)
    expected = expected_gradients(run, UNIFORM, 2, loss_weights=weights)
    assert_signals(run.advance(UNIFORM, 2, loss_weights=weights), expected)


@pytest.mark.parametrize("chunk", [1, 2**22])
def test_close_under_bf16(
    three_domains: Corpus, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("mixgym.lm.gradients._CHUNK", chunk)
    run = make(three_domains, GradientSettings(last_n=0), precision="bf16")
    expected = expected_gradients(run, UNIFORM, 1)
    assert_signals(run.advance(UNIFORM, 1), expected, rtol=2e-2)
    assert run._gradients is not None
    assert {mean.dtype for mean in run._gradients.means()} == {torch.float32}


def test_domains_without_a_sequence_have_nan(three_domains: Corpus) -> None:
    run = make(three_domains)
    mixture = np.array([0.5, 0.0, 0.5])
    expected = expected_gradients(run, mixture, 1)
    signals = run.advance(mixture, 1)
    assert_signals(signals, expected)
    assert np.isnan(signals.gram[1]).all() and np.isnan(signals.gram[:, 1]).all()
    assert np.isnan(signals.objective_alignment).tolist() == [False, True, False]
    assert np.isfinite(signals.gram[np.ix_([0, 2], [0, 2])]).all()


def test_variance_by_hand(three_domains: Corpus) -> None:
    run = make(three_domains)
    batch = next(iter(copy.deepcopy(run.stream).batches(UNIFORM, 1)))
    single = torch.stack([autograd(run, tokens[None]) for tokens in batch.tokens])
    expected = [single[batch.domains == k].var(dim=0).sum() for k in range(3)]
    signals = run.advance(UNIFORM, 1)
    np.testing.assert_allclose(signals.gradient_variance, expected, rtol=1e-4)
    one = make(three_domains).advance([0.875, 0.125, 0.0], 1)
    assert np.isnan(one.gradient_variance).tolist() == [False, True, True]


def test_objective_alignment_by_hand(three_domains: Corpus) -> None:
    run = make(three_domains)
    expected = expected_gradients(run, UNIFORM, 2)
    signals = run.advance(UNIFORM, 2)
    target = sum(
        weight * autograd(run, run.held_out.tokens("validation", k, 3))
        for k, weight in enumerate(ALL.objective)
        if weight
    )
    assert isinstance(target, torch.Tensor)
    np.testing.assert_allclose(signals.objective_alignment, expected @ target, rtol=1e-4)
    assert signals.objective_gradient_norm == pytest.approx(float(target.norm()), rel=1e-5)


def test_only_what_was_asked_for_is_there(three_domains: Corpus) -> None:
    off = make(three_domains, None).advance(UNIFORM, 1)
    assert off.gram.size == off.alignment.size == off.gradient_norms.size == 0
    gram = make(three_domains, GradientSettings()).advance(UNIFORM, 1)
    assert gram.gram.shape == (3, 3) and gram.objective_alignment.size == 0
    assert gram.gradient_variance.size == 0 and np.isnan(gram.objective_gradient_norm)
    target = GradientSettings(kinds=("objective",), objective=ALL.objective)
    signals = make(three_domains, target).advance(UNIFORM, 1)
    assert signals.gram.size == 0 and signals.objective_alignment.shape == (3,)


def test_before_the_first_decision_everything_is_nan(three_domains: Corpus) -> None:
    run = make(three_domains)
    signals = run.signals()
    assert signals.gram.shape == (3, 3) and np.isnan(signals.gram).all()
    assert np.isnan(signals.objective_alignment).all() and np.isnan(signals.alignment).all()
    assert run.ledger.accounts["reward"].tokens == 0


def test_every_nth_step(three_domains: Corpus) -> None:
    run = make(three_domains, GradientSettings(every=3, last_n=0))
    expected = expected_gradients(run, UNIFORM, 1)
    assert_signals(run.advance(UNIFORM, 2), expected)  # of steps 0 and 1 only 0 is measured
    assert np.isnan(run.advance(UNIFORM, 1).gram).all()  # step 2
    expected = expected_gradients(run, UNIFORM, 1)
    assert_signals(run.advance(UNIFORM, 3), expected)  # of steps 3 to 5 only 3 is


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}], ids=["fp32", "bf16"])
@pytest.mark.parametrize("model", [NEOX, {**NEOX, "hidden_dropout": 0.2}], ids=["plain", "dropout"])
def test_measuring_gradients_does_not_change_the_run(
    three_domains: Corpus, model: Any, changes: dict[str, Any]
) -> None:
    quiet = make(three_domains, None, model, **changes)
    measured = make(three_domains, ALL, model, **changes)
    before = torch.get_rng_state()
    for mixture in (UNIFORM, np.array([0.9, 0.1, 0.0])):
        a, b = quiet.advance(mixture, 4), measured.advance(mixture, 4)
        np.testing.assert_array_equal(a.train_loss, b.train_loss)
        np.testing.assert_array_equal(a.update_norms, b.update_norms)
    assert torch.equal(parameters(quiet), parameters(measured))
    assert torch.equal(torch.get_rng_state(), before)
    assert measured.model.training
    assert all(p.grad is None for p in measured.model.parameters())
    for module in measured.model.modules():
        assert not module._forward_hooks and not module._backward_hooks


@pytest.mark.parametrize(
    "duplicate",
    [
        lambda run, path: run.fork(),
        lambda run, path: pickle.loads(pickle.dumps(run)),
        through_disk,
    ],
    ids=["fork", "pickle", "checkpoint"],
)
def test_a_copy_measures_the_same(three_domains: Corpus, tmp_path: Any, duplicate: Any) -> None:
    run = make(three_domains, GradientSettings(**{**vars(ALL), "every": 2}))
    run.advance(UNIFORM, 3)
    twin = duplicate(run, tmp_path)
    assert twin.gradients == run.gradients
    for _ in range(2):
        a, b = run.advance(UNIFORM, 3), twin.advance(UNIFORM, 3)
        for name in ("gram", "alignment", "objective_alignment", "gradient_variance"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert a.objective_gradient_norm == b.objective_gradient_norm


def test_their_cost_is_on_the_ledger(three_domains: Corpus) -> None:
    run = make(three_domains)
    run.advance(UNIFORM, 2)
    cost = run.ledger.accounts["reward"]
    assert cost.tokens == 2 * 3 * 16  # two domains have a weight in the objective
    size = sum(w.numel() for w in matrices(run))
    assert cost.flops == 6 * run.n_parameters * cost.tokens + 2 * 2 * 8 * 16 * size
    assert cost.seconds > 0
    assert run.ledger.accounts["train"].tokens == 2 * 8 * 16
    quiet = make(three_domains, GradientSettings())
    quiet.advance(UNIFORM, 2)
    assert quiet.ledger.accounts["reward"].tokens == 0


def test_layers_are_chosen_by_pattern_and_number(three_domains: Corpus) -> None:
    def names(**settings: Any) -> list[str]:
        run = make(three_domains, GradientSettings(**settings))
        assert run._gradients is not None
        return [name for name, _ in run._gradients.modules]

    last = "gpt_neox.layers.1.mlp.dense_4h_to_h.weight"
    first = "gpt_neox.layers.0.mlp.dense_4h_to_h.weight"
    assert names() == names(last_n=1) == [last]
    assert names(last_n=0) == names(last_n=3) == [first, last]
    assert names(layers="query_key_value.weight", last_n=0) == [
        f"gpt_neox.layers.{i}.attention.query_key_value.weight" for i in range(2)
    ]
    with pytest.raises(MixgymError, match="exactly one linear layer"):
        names(layers="embed_in")


def test_tied_matrices_are_refused(three_domains: Corpus) -> None:
    with pytest.raises(MixgymError, match="exactly one"):
        make(
            three_domains, GradientSettings(layers="embed_tokens"),
            {**LLAMA, "tie_word_embeddings": True},
        )  # fmt: skip


def test_bad_settings_name_value_and_remedy(three_domains: Corpus) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'gram'"):
        GradientSettings(kinds=("grm",))
    with pytest.raises(UnknownNameError, match="did you mean 'every'"):
        GradientSettings.from_plain({"evry": 2})
    with pytest.raises(ValueError, match="every"):
        GradientSettings(every=0)
    with pytest.raises(ValueError, match="no kind"):
        GradientSettings(kinds=())
    with pytest.raises(ValueError, match="3 domains"):
        make(three_domains, GradientSettings(kinds=("objective",)))


def test_the_default_is_the_papers_share_of_the_layers(three_domains: Corpus) -> None:
    deep = make(three_domains, GradientSettings(), gpt_neox(8, 16, 2))
    assert deep._gradients is not None
    chosen = [name.split(".")[2] for name, _ in deep._gradients.modules]
    assert chosen == ["13", "14", "15"]


def test_alignment_is_the_off_diagonal_row_sum() -> None:
    gram = np.array([[4.0, 1.0, np.nan], [1.0, 9.0, np.nan], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(alignment(gram), [1.0, 1.0, np.nan])
    full = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(alignment(full), [3.0, 8.0, 13.0])


# --- the loss weights of `advance`


def test_equal_loss_weights_change_nothing_but_rounding(three_domains: Corpus) -> None:
    plain, weighted = make(three_domains, None), make(three_domains, None)
    plain.advance(UNIFORM, 1)
    weighted.advance(UNIFORM, 1, loss_weights=[2.0, 2.0, 2.0])
    torch.testing.assert_close(parameters(plain), parameters(weighted), rtol=1e-4, atol=1e-5)


def test_the_loss_is_really_reweighted(three_domains: Corpus) -> None:
    """The step's gradient is that of sum_b w_d(b) l_b / sum_b w_d(b), by autograd."""
    run = make(three_domains, None, clip=1e9)
    weights = np.array([5.0, 1.0, 0.2])
    batch = next(iter(copy.deepcopy(run.stream).batches(UNIFORM, 1)))
    parts = [autograd(run, tokens[None]) for tokens in batch.tokens]
    share = weights[batch.domains] / weights[batch.domains].sum()
    expected = (torch.from_numpy(share)[:, None] * torch.stack(parts)).sum(dim=0)
    plain = torch.stack(parts).mean(dim=0)
    seen: list[torch.Tensor] = []
    step = run.optimiser.step

    def spy(*arguments: Any) -> Any:
        seen.append(torch.cat([w.grad.flatten() for w in matrices(run)]).double())  # type: ignore
        return step(*arguments)

    run.optimiser.step = spy  # type: ignore[method-assign]
    run.advance(UNIFORM, 1, loss_weights=weights)
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-6)
    assert float((seen[0] - plain).norm()) > 0.1 * float(plain.norm())


def test_loss_weights_may_follow_the_batch(three_domains: Corpus) -> None:
    fixed, follower = make(three_domains, None), make(three_domains, None)
    calls = []

    def weights(batch: Any, token_losses: torch.Tensor) -> list[float]:
        assert token_losses.shape == (8, 16) and not token_losses.requires_grad
        calls.append(float(token_losses.mean()))
        return [3.0, 1.0, 1.0]

    a = fixed.advance(UNIFORM, 2, loss_weights=[3.0, 1.0, 1.0])
    b = follower.advance(UNIFORM, 2, loss_weights=weights)
    assert len(calls) == 2
    assert torch.equal(parameters(fixed), parameters(follower))
    np.testing.assert_array_equal(a.last_loss, b.last_loss)


def test_loss_weights_may_prepare_for_a_batch(three_domains: Corpus) -> None:
    calls: list[str] = []

    class Weights:
        def prepare(self, batch: Any) -> None:
            self.batch = batch
            calls.append("prepare")

        def __call__(self, batch: Any, token_losses: torch.Tensor) -> list[float]:
            assert batch is self.batch
            calls.append("weights")
            return [3.0, 1.0, 1.0]

    run, fixed = make(three_domains, None), make(three_domains, None)
    run.model.register_forward_pre_hook(lambda *_: calls.append("forward"))
    run.advance(UNIFORM, 2, loss_weights=Weights())
    assert calls == ["prepare", "forward", "weights"] * 2
    fixed.advance(UNIFORM, 2, loss_weights=[3.0, 1.0, 1.0])
    assert torch.equal(parameters(fixed), parameters(run))


@pytest.mark.parametrize("bad", [[1.0, 0.0, 1.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0], [1.0]])
def test_bad_loss_weights_are_refused(three_domains: Corpus, bad: Any) -> None:
    with pytest.raises(ValueError, match="loss_weights"):
        make(three_domains, None).advance(UNIFORM, 1, loss_weights=bad)


def test_old_checkpoints_without_gradients_load(two_domains: Corpus, tmp_path: Any) -> None:
    from mixgym.files import read_json, write_json

    run = TrainingRun(two_domains, TINY, total_steps=100, settings=SETTINGS)
    run.save(tmp_path)
    record = read_json(tmp_path / "run.json")
    del record["gradients"]
    write_json(tmp_path / "run.json", record)
    assert trajectory(TrainingRun.load(tmp_path, two_domains)) == trajectory(run)
