"""N runs at once are N single runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixgym.corpus import Corpus
from mixgym.errors import MixgymError, UnknownNameError
from mixgym.lm.batched import BatchedRun
from mixgym.lm.settings import GradientSettings, Settings, gpt_neox
from mixgym.lm.training import TrainingRun

SETTINGS = Settings(context=16, batch_size=4, learning_rate=1e-2, warmup_steps=2)
NEOX = gpt_neox(16, 1, 2)
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 48,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "use_cache": False,
}
#: Tied embeddings, and linear layers that hold their matrices transposed.
GPT2 = {
    "model_type": "gpt2",
    "n_embd": 16,
    "n_layer": 1,
    "n_head": 2,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "use_cache": False,
}
MODELS = pytest.mark.parametrize("model", [NEOX, LLAMA, GPT2], ids=["neox", "llama", "tied"])
SEEDS = [3, 0, 7, 2**40]
TOTAL = 40


def batched(corpus: Corpus, model: dict = NEOX, seeds: list[int] = SEEDS, **given) -> BatchedRun:
    settings = given.pop("settings", SETTINGS)
    return BatchedRun(corpus, model, seeds, total_steps=TOTAL, settings=settings, **given)


def singles(corpus: Corpus, model: dict = NEOX, seeds: list[int] = SEEDS) -> list[TrainingRun]:
    return [
        TrainingRun(corpus, model, total_steps=TOTAL, seed=seed, settings=SETTINGS)
        for seed in seeds
    ]


def some_mixtures(N: int, K: int, seed: int = 0) -> np.ndarray:
    weights = np.random.default_rng(seed).dirichlet(np.full(K, 0.7), N)
    weights[0] = np.eye(K)[0]
    return weights


def same(a: object, b: object) -> bool:
    """Whether two arrays are equal, NaN to NaN."""
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)


def weights_of(run: BatchedRun, i: int) -> dict[str, torch.Tensor]:
    return {n: v[i] for n, v in run.engine.layout.views(run.engine.rows.parameters).items()}


@MODELS
def test_initial_weights_are_the_single_runs(nano8: Corpus, model: dict) -> None:
    together = batched(nano8, model)
    for i, run in enumerate(singles(nano8, model)):
        own = weights_of(together, i)
        assert all(torch.equal(own[n], p) for n, p in run.model.named_parameters())
        assert len(own) == len(list(run.model.named_parameters()))
        assert np.allclose(together.recorder.norms[i], run.signals().weight_norms)


@MODELS
def test_one_steps_gradients_are_the_single_runs(nano8: Corpus, model: dict) -> None:
    together = batched(nano8, model)
    mixtures = some_mixtures(len(SEEDS), 8)
    # Off the initial weights, where many gradients are all but zero.
    together.advance(mixtures, 3)
    alone = [together.run(i) for i in range(len(SEEDS))]
    draws = together.stream.draw(mixtures, 1)
    starts, shares = torch.from_numpy(draws.starts[:, 0]), torch.full((len(SEEDS), 4), 0.25)
    stepper = together.engine._stepper
    found, losses = stepper.gradients(together.engine.rows.parameters, starts, shares)
    gradients = together.engine.layout.views(found)
    for i, run in enumerate(alone):
        batch = next(run.stream.batches(mixtures[i], 1))
        windows = torch.from_numpy(batch.tokens)
        logits = run.model(input_ids=windows[:, :-1], use_cache=False).logits
        log_p = torch.log_softmax(logits.flatten(0, 1), dim=-1)
        loss = torch.nn.functional.nll_loss(log_p, windows[:, 1:].flatten())
        loss.backward()
        assert float(losses[i].mean()) == pytest.approx(float(loss.detach()), rel=1e-6)
        whole, difference = 0.0, 0.0
        for name, parameter in run.model.named_parameters():
            assert parameter.grad is not None
            square = float(parameter.grad.square().sum())
            off = float((gradients[name][i] - parameter.grad).square().sum())
            whole, difference = whole + square, difference + off
            if square > 1e-12:  # a key's bias has no gradient but rounding
                assert off <= (1e-5) ** 2 * square, name
        assert difference <= (1e-6) ** 2 * whole


@MODELS
def test_an_episode_is_the_single_runs(nano8: Corpus, model: dict) -> None:
    together, alone = batched(nano8, model, chunk=3), singles(nano8, model)
    for decision in range(4):
        mixtures = some_mixtures(len(SEEDS), 8, decision)
        found = together.advance(mixtures, 5)
        evaluated = together.evaluate(windows=3, domains=[1, 4])
        for i, run in enumerate(alone):
            expected, own = run.advance(mixtures[i], 5), found[i]
            for name in ("mixture", "counts", "tokens", "epochs", "train_loss_age", "starved"):
                assert np.array_equal(getattr(own, name), getattr(expected, name)), name
            for name in ("step", "decision", "remaining", "diverged", "learning_rate"):
                assert getattr(own, name) == getattr(expected, name), name
            for name in ("train_loss", "train_loss_change", "last_loss"):
                a, b = getattr(own, name), getattr(expected, name)
                np.testing.assert_allclose(a, b, atol=1e-4, err_msg=name)
            for name in ("weight_norms", "update_norms"):
                a, b = getattr(own, name), getattr(expected, name)
                np.testing.assert_allclose(a, b, rtol=1e-3, err_msg=name)
            losses = run.evaluate(windows=3, domains=[1, 4])
            np.testing.assert_allclose(evaluated[i], losses, atol=1e-4)
            accounts = run.ledger.accounts.items()
            for account, expected_account in accounts:
                own_account = together.ledger[i].accounts[account]
                assert own_account.tokens == expected_account.tokens
                assert own_account.flops == expected_account.flops


def test_signals_have_the_single_runs_types(nano8: Corpus) -> None:
    own = batched(nano8, seeds=[3]).signals()[0]
    expected = singles(nano8, seeds=[3])[0].signals()
    for name, value in vars(expected).items():
        found = getattr(own, name)
        assert type(found) is type(value), name
        if isinstance(value, np.ndarray):
            assert found.dtype == value.dtype and found.shape == value.shape, name
            np.testing.assert_allclose(found, value, rtol=1e-6, err_msg=name)


def everything(run: BatchedRun, i: int) -> list[float]:
    """Every number of run i that two decisions give."""
    result = []
    for decision in range(2):
        mixtures = np.stack([some_mixtures(1, 8, seed + decision)[0] for seed in run.seeds])
        signals = run.advance(mixtures, 3)[i]
        for value in vars(signals).values():
            result += np.nan_to_num(np.asarray(value, dtype=np.float64)).ravel().tolist()
    result += run.evaluate(windows=2)[i].tolist()
    return result


@MODELS
@pytest.mark.parametrize("gradients", [None, GradientSettings(("gram", "variance"))])
def test_a_run_does_not_depend_on_the_others(
    nano8: Corpus, model: dict, gradients: GradientSettings | None
) -> None:
    alone = everything(batched(nano8, model, [5], gradients=gradients), 0)
    for seeds, chunk in (([5, 1], None), ([9, 8, 7, 5], None), ([1, 5, 2, 3, 4], 2)):
        together = batched(nano8, model, seeds, chunk=chunk, gradients=gradients)
        assert everything(together, seeds.index(5)) == alone


def test_learning_rates_and_loss_weights_are_each_runs_own(nano8: Corpus) -> None:
    rates, losses = [1e-2, 1e-3, 5e-3], np.random.default_rng(1).uniform(0.1, 3.0, (3, 8))
    together = batched(nano8, seeds=[1, 1, 1], learning_rates=rates)
    mixtures = np.full((3, 8), 0.125)
    found = together.advance(mixtures, 6, loss_weights=losses)
    for i, rate in enumerate(rates):
        settings = SETTINGS.updated({"learning_rate": rate})
        run = TrainingRun(nano8, NEOX, total_steps=TOTAL, seed=1, settings=settings)
        expected = run.advance(mixtures[i], 6, loss_weights=losses[i])
        np.testing.assert_allclose(found[i].train_loss, expected.train_loss, atol=1e-4)
        assert found[i].learning_rate == expected.learning_rate
    assert not np.allclose(found.train_loss[0], found.train_loss[1], atol=1e-2)


def snapshot(run: BatchedRun, i: int) -> tuple:
    rows = [tensor[i].clone().numpy().tobytes() for tensor in run.engine.rows.tensors()]
    stream = run.stream.single(i).state_dict()
    return rows, stream, run.ledger[i].to_json(), int(run.step[i]), int(run.decision[i])


def test_a_run_that_diverges_is_masked_and_does_not_touch_the_rest(nano8: Corpus) -> None:
    rates = np.full(4, 1e-2)
    healthy = batched(nano8, learning_rates=rates)
    rates[1] = 1e4
    together = batched(nano8, learning_rates=rates)
    mixtures = some_mixtures(4, 8)
    for run in (healthy, together):
        run.advance(mixtures, 6)
    assert together.diverged.tolist() == [False, True, False, False]
    before = snapshot(together, 1)
    signals, expected = together.advance(mixtures, 6), healthy.advance(mixtures, 6)
    assert signals.advanced.tolist() == [True, False, True, True]
    assert signals.diverged.tolist() == [False, True, False, False]
    assert snapshot(together, 1) == before
    assert signals.counts[1].sum() == 0
    for i in (0, 2, 3):
        assert same(signals.train_loss[i], expected.train_loss[i])
        assert snapshot(together, i)[0] == snapshot(healthy, i)[0]


def test_a_diverged_run_diverges_alone_too(nano8: Corpus) -> None:
    run = batched(nano8, seeds=[1, 2], learning_rates=[1e4, 1e-2])
    run.advance(np.full((2, 8), 0.125), 6)
    assert run.run(0).diverged and not run.run(1).diverged
    with pytest.raises(MixgymError, match="diverged"):
        run.run(0).advance(np.full(8, 0.125), 1)


def test_runs_left_out_and_finished_runs_stay_as_they_are(nano8: Corpus) -> None:
    run, mixtures = batched(nano8), some_mixtures(4, 8)
    run.advance(mixtures, 20, runs=[True, False, True, False])
    before = [snapshot(run, i) for i in range(4)]
    mixtures[[0, 2]] = np.nan  # what is not looked at may be anything
    run.advance(mixtures, 20, runs=[False, True, False, True])
    assert [snapshot(run, i) == before[i] for i in range(4)] == [True, False, True, False]
    assert run.step.tolist() == [20] * 4
    mixtures = some_mixtures(4, 8)
    run.advance(mixtures, 20, runs=[True, False, False, False])
    assert run.finished.tolist() == [True, False, False, False]
    assert not run.advance(mixtures, 5).advanced[0]
    with pytest.raises(ValueError, match=r"\[1, 15\]"):
        run.advance(mixtures, 16)
    run.advance(mixtures, 15)
    with pytest.raises(MixgymError, match="no run can take part"):
        run.advance(mixtures, 1)


def test_permuting_the_runs_permutes_the_results(nano8: Corpus) -> None:
    order = [2, 0, 3, 1]
    a, b = batched(nano8, chunk=2), batched(nano8, seeds=[SEEDS[i] for i in order], chunk=3)
    mixtures = some_mixtures(4, 8)
    first, second = a.advance(mixtures, 4), b.advance(mixtures[order], 4)
    assert same(first.train_loss[order], second.train_loss)
    assert same(first.update_norms[order], second.update_norms)
    rows = a.engine.rows.parameters[order]
    assert torch.equal(rows, b.engine.rows.parameters)


def test_restarted_runs_are_new_ones(nano8: Corpus) -> None:
    run, mixtures = batched(nano8), some_mixtures(4, 8)
    run.advance(mixtures, 7)
    run.restart([2], [99])
    fresh = batched(nano8, seeds=[99])
    assert snapshot(run, 2) == snapshot(fresh, 0)
    signals = run.advance(mixtures, 5)
    expected = fresh.advance(mixtures[[2]], 5)
    assert same(signals.train_loss[2], expected.train_loss[0])
    assert signals.step.tolist() == [12, 12, 5, 12]


@MODELS
@pytest.mark.parametrize("steps", [0, 6])
def test_a_run_handed_out_continues(nano8: Corpus, model: dict, steps: int) -> None:
    together, mixtures = batched(nano8, model), some_mixtures(4, 8)
    if steps:
        together.advance(mixtures, steps)
    alone = [together.run(i) for i in range(4)]
    found = together.advance(mixtures, 5)
    for i, run in enumerate(alone):
        assert run.step == steps and run.seed == SEEDS[i]
        expected = run.advance(mixtures[i], 5)
        np.testing.assert_allclose(found[i].train_loss, expected.train_loss, atol=1e-4)
        assert np.array_equal(found[i].counts, expected.counts)
        assert np.array_equal(found[i].epochs, expected.epochs)
        assert run.ledger.accounts["train"].tokens == together.ledger[i].accounts["train"].tokens


def test_weights_can_be_given(nano8: Corpus) -> None:
    start = singles(nano8, seeds=[123])[0]
    run = batched(nano8)
    before = weights_of(run, 1)["gpt_neox.embed_in.weight"].clone()
    run.load_weights(dict(start.model.named_parameters()), [0, 3])
    for i in (0, 3):
        own = weights_of(run, i)
        assert all(torch.equal(own[n], p) for n, p in start.model.named_parameters())
    assert torch.equal(weights_of(run, 1)["gpt_neox.embed_in.weight"], before)
    np.testing.assert_allclose(run.signals().weight_norms[3], start.signals().weight_norms)


def test_bf16_is_the_single_runs_bf16(nano8: Corpus) -> None:
    settings = SETTINGS.updated({"precision": "bf16"})
    together = batched(nano8, seeds=[1, 2], settings=settings)
    assert together.precision == "bf16"
    mixtures = np.full((2, 8), 0.125)
    found = together.advance(mixtures, 8)
    exact = batched(nano8, seeds=[1, 2]).advance(mixtures, 8)
    assert not same(found.train_loss, exact.train_loss)
    for i in range(2):
        run = TrainingRun(nano8, NEOX, total_steps=TOTAL, seed=[1, 2][i], settings=settings)
        expected = run.advance(mixtures[i], 8)
        np.testing.assert_allclose(found[i].train_loss, expected.train_loss, atol=0.02)


def test_the_callers_torch_state_changes_nothing_and_is_left_alone(nano8: Corpus) -> None:
    plain = batched(nano8)
    mixtures = some_mixtures(4, 8)
    expected = plain.advance(mixtures, 3)
    rng, threads = torch.get_rng_state(), torch.get_num_threads()
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            run = batched(nano8, precision="tf32")
            found = run.advance(mixtures, 3)
            run.evaluate(windows=2)
            assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu")
        with torch.no_grad():
            again = plain.advance(mixtures, 3)
            assert not torch.is_grad_enabled()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(found.train_loss, expected.train_loss)
    assert same(again.train_loss, run.advance(mixtures, 3).train_loss)
    assert torch.equal(rng, torch.get_rng_state()) and torch.get_num_threads() == threads
    assert torch.backends.cuda.matmul.allow_tf32 == tf32


def test_what_is_not_there_is_said(nano8: Corpus) -> None:
    with pytest.raises(MixgymError, match="no dropout"):
        batched(nano8, {**GPT2, "resid_pdrop": 0.1})
    with pytest.raises(MixgymError, match="graphs"):
        batched(nano8, compiled="graphs")
    with pytest.raises(UnknownNameError, match="compile"):
        batched(nano8, compiled="jit")
    with pytest.raises(UnknownNameError, match="fp16"):
        batched(nano8, precision="fp16")
    with pytest.raises(ValueError, match="learning_rates"):
        batched(nano8, learning_rates=[1e-3])
    with pytest.raises(ValueError, match="at least one run"):
        batched(nano8, seeds=[])
    with pytest.raises(ValueError, match="chunk"):
        batched(nano8, chunk=0)
    run = batched(nano8)
    with pytest.raises(ValueError, match="shape"):
        run.advance(np.full(8, 0.125), 1)
    with pytest.raises(ValueError, match="split"):
        run.evaluate("train")
