import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mixgym.corpus import Corpus, load_corpus
from mixgym.errors import CorpusError, MixgymError, UnknownNameError
from mixgym.lm.settings import Settings, gpt_neox
from mixgym.lm.training import TrainingRun
from tests.tiny import COPIES

TINY = gpt_neox(16, 1, 2)
SETTINGS = Settings(context=16, batch_size=4, learning_rate=1e-2, warmup_steps=2)


def tiny(corpus: Corpus, seed: int = 0, **changes: object) -> TrainingRun:
    settings = SETTINGS.updated(changes)
    return TrainingRun(corpus, TINY, total_steps=100, seed=seed, settings=settings)


def parameters(run: TrainingRun) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def trajectory(run: TrainingRun) -> list[float]:
    result: list[float] = []
    for mixture in ([0.5, 0.5], [0.9, 0.1], [0.0, 1.0]):
        result += run.advance(mixture, 3).train_loss.tolist()
    result += run.evaluate(windows=4).tolist()
    return result


def test_a_model_that_cannot_be_is_refused_by_name(two_domains: Corpus) -> None:
    with pytest.raises(MixgymError, match=r"transformers refuses the model.*'hidden_size': 7"):
        TrainingRun(two_domains, {**TINY, "hidden_size": 7}, total_steps=1, settings=SETTINGS)


def test_it_learns(two_domains: Corpus) -> None:
    run = tiny(two_domains)
    before = run.evaluate(windows=16)
    start = parameters(run)
    run.advance([0.5, 0.5], 60)
    after = run.evaluate(windows=16)
    assert (after < before - 1.0).all(), (before, after)
    assert not torch.equal(start, parameters(run))


def test_same_seed_same_run_other_seed_other_run(two_domains: Corpus) -> None:
    assert trajectory(tiny(two_domains, seed=3)) == trajectory(tiny(two_domains, seed=3))
    assert trajectory(tiny(two_domains, seed=3)) != trajectory(tiny(two_domains, seed=4))


def test_seeds_change_weights_and_order_but_not_the_windows_measured(two_domains: Corpus) -> None:
    a, b = tiny(two_domains, seed=0), tiny(two_domains, seed=1)
    assert not torch.equal(parameters(a), parameters(b))
    assert a.stream.seed != b.stream.seed
    assert np.array_equal(a.held_out.tokens("test", 0, 8), b.held_out.tokens("test", 0, 8))


def test_same_run_in_another_process(two_domains: Corpus) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_training import tiny, trajectory\n"
        "from mixgym.corpus import load_corpus\n"
        "print(repr(trajectory(tiny(load_corpus('nano8', domains=['recipes', 'python'])))))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert output.strip() == repr(trajectory(tiny(two_domains)))


def test_a_killed_run_resumes_in_another_process(two_domains: Corpus, tmp_path: Path) -> None:
    run = tiny(two_domains)
    run.advance([0.3, 0.7], 5)
    run.save(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_training import trajectory\n"
        "from mixgym.corpus import load_corpus\n"
        "from mixgym.lm.training import TrainingRun\n"
        "corpus = load_corpus('nano8', domains=['recipes', 'python'])\n"
        "print(repr(trajectory(TrainingRun.load(sys.argv[2], corpus))))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert output.strip() == repr(trajectory(run))


def through_disk(run: TrainingRun, tmp_path: object) -> TrainingRun:
    run.save(str(tmp_path))
    return TrainingRun.load(str(tmp_path), run.corpus)


WAYS = {**COPIES, "checkpoint": through_disk}


@pytest.mark.parametrize("duplicate", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("steps_before", [0, 5])
def test_a_copy_continues_bit_for_bit_and_independently(
    two_domains: Corpus, tmp_path: object, duplicate: Callable, steps_before: int
) -> None:
    run = tiny(two_domains)
    if steps_before:
        run.advance([0.3, 0.7], steps_before)
    state = parameters(run)
    twin = duplicate(run, tmp_path)
    first = trajectory(twin)
    assert torch.equal(state, parameters(run)), "advancing the copy moved the original"
    assert trajectory(run) == first
    assert torch.equal(parameters(run), parameters(twin))
    assert run.ledger.accounts["train"].tokens == twin.ledger.accounts["train"].tokens


def test_dropout_resumes_bit_for_bit(two_domains: Corpus) -> None:
    model = {**TINY, "hidden_dropout": 0.2}
    run = TrainingRun(two_domains, model, total_steps=50, settings=SETTINGS)
    run.advance([0.5, 0.5], 4)
    assert trajectory(run.fork()) == trajectory(run)


def test_global_random_states_are_untouched(two_domains: Corpus) -> None:
    def states() -> tuple[bytes, object, str]:
        legacy = np.random.get_state()
        return torch.get_rng_state().numpy().tobytes(), random.getstate(), str(legacy)

    before = states()
    threads = torch.get_num_threads()
    run = tiny(two_domains)
    run.advance([0.5, 0.5], 2)
    run.evaluate(windows=2)
    run.fork()
    assert states() == before
    assert torch.get_num_threads() == threads


def test_measuring_does_not_change_the_run(two_domains: Corpus) -> None:
    quiet, measured = tiny(two_domains), tiny(two_domains)
    for _ in range(3):
        quiet.advance([0.5, 0.5], 2)
        measured.advance([0.5, 0.5], 2)
        measured.evaluate(windows=4)
        measured.signals()
        measured.state_dict()
    assert torch.equal(parameters(quiet), parameters(measured))


def test_signals_by_hand(two_domains: Corpus) -> None:
    run = tiny(two_domains)
    weights = dict(run.model.named_parameters())[run.layer_names[0]]
    before = weights.detach().clone()
    signals = run.advance([1.0, 0.0], 2)
    assert signals.counts.tolist() == [8.0, 0.0]
    assert signals.tokens.tolist() == [8.0 * 16, 0.0]
    assert signals.train_loss_age.tolist() == [0.0, 2.0]
    assert np.isnan(signals.train_loss[1]) and np.isnan(signals.last_loss[1])
    assert not signals.starved.any()
    assert signals.epochs[0] == pytest.approx(8 / run.stream.windows[0])
    assert signals.update_norms[0] == pytest.approx(
        float((weights.detach() - before).norm()), rel=1e-5
    )
    assert signals.weight_norms[0] == pytest.approx(float(weights.detach().norm()), rel=1e-5)
    assert (signals.step, signals.total_steps, signals.remaining) == (2, 100, 0.98)


def test_train_loss_is_the_models_own_loss_and_its_running_mean(two_domains: Corpus) -> None:
    run, twin = tiny(two_domains), tiny(two_domains)
    batches = list(twin.stream.batches(np.array([1.0, 0.0]), 2))
    twin.stream = tiny(two_domains).stream
    expected = []
    for batch in batches:
        tokens = torch.from_numpy(batch.tokens)
        with torch.no_grad():
            logits = twin.model(input_ids=tokens[:, :-1]).logits
        log_p = torch.log_softmax(logits.double(), dim=-1)
        expected.append(-float(log_p.gather(-1, tokens[:, 1:, None]).mean()))
        twin.advance([1.0, 0.0], 1)
    signals = run.advance([1.0, 0.0], 2)
    assert signals.last_loss[0] == pytest.approx(np.mean(expected), rel=1e-5)
    assert signals.train_loss[0] == pytest.approx(0.9 * expected[0] + 0.1 * expected[1], rel=1e-5)


def test_a_positive_weight_without_a_sequence_is_reported(two_domains: Corpus) -> None:
    signals = tiny(two_domains).advance([0.99, 0.01], 1)
    assert signals.starved.tolist() == [False, True]
    assert signals.counts.tolist() == [4.0, 0.0]


def test_learning_rate_warms_up_then_stays_or_decays() -> None:
    constant = Settings(learning_rate=1.0, warmup_steps=4)
    assert [constant.learning_rate_at(s, 10) for s in (0, 1, 3, 4, 9)] == [0.25, 0.5, 1, 1, 1]
    decayed = Settings(learning_rate=1.0, warmup_steps=1, final_decay=0.5)
    assert [decayed.learning_rate_at(s, 10) for s in (0, 5, 6, 9)] == [1, 1, 0.8, 0.2]


def test_the_learning_rate_reaches_the_optimiser(two_domains: Corpus) -> None:
    run = tiny(two_domains, learning_rate=0.02, warmup_steps=4)
    run.advance([0.5, 0.5], 2)
    assert [g["lr"] for g in run.optimiser.param_groups] == [0.01, 0.01]


def test_bf16_runs_and_differs(two_domains: Corpus) -> None:
    exact = tiny(two_domains).advance([0.5, 0.5], 5).train_loss
    rounded = tiny(two_domains, precision="bf16").advance([0.5, 0.5], 5).train_loss
    assert not np.array_equal(exact, rounded)
    assert np.allclose(exact, rounded, atol=0.1)


def test_divergence_is_noticed(two_domains: Corpus) -> None:
    run = tiny(two_domains, learning_rate=1e6, warmup_steps=0, clip=1e6)
    signals = run.advance([0.5, 0.5], 20)
    assert signals.diverged
    with pytest.raises(MixgymError, match="learning_rate"):
        run.advance([0.5, 0.5], 1)


def test_other_architectures(two_domains: Corpus) -> None:
    llama = {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "tie_word_embeddings": True,
    }
    run = TrainingRun(two_domains, llama, total_steps=20, settings=SETTINGS)
    run.advance([0.5, 0.5], 2)
    assert run.layer_names == tuple(f"model.layers.{i}.mlp.down_proj.weight" for i in range(2))
    assert trajectory(pickle.loads(pickle.dumps(run))) == trajectory(run)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_local_checkpoint_is_continued(
    two_domains: Corpus, tmp_path: object, dtype: torch.dtype
) -> None:
    base = tiny(two_domains)
    base.advance([0.5, 0.5], 10)
    expected = base.evaluate(windows=4)
    base.model.to(dtype).save_pretrained(str(tmp_path))  # type: ignore[arg-type]
    run = TrainingRun(two_domains, str(tmp_path), total_steps=10, settings=SETTINGS)
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}
    if dtype == torch.float32:
        assert np.array_equal(run.evaluate(windows=4), expected)
    else:
        assert np.allclose(run.evaluate(windows=4), expected, atol=0.02)
    twins = [run.fork(), pickle.loads(pickle.dumps(run))]
    after = trajectory(run)
    assert [trajectory(twin) for twin in twins] == [after, after]


def test_bad_arguments_name_value_and_remedy(two_domains: Corpus) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'micro'"):
        TrainingRun(two_domains, "mirco", total_steps=1)
    with pytest.raises(MixgymError, match="model_type"):
        TrainingRun(two_domains, {"hidden_size": 8}, total_steps=1)
    with pytest.raises(MixgymError, match="lower the context"):
        TrainingRun(
            two_domains, {**TINY, "max_position_embeddings": 8}, total_steps=1, settings=SETTINGS
        )
    with pytest.raises(ValueError, match="total_steps"):
        TrainingRun(two_domains, TINY, total_steps=0)
    with pytest.raises(UnknownNameError, match="did you mean 'learning_rate'"):
        SETTINGS.updated({"learning_rat": 1.0})
    with pytest.raises(ValueError, match="learning_rate"):
        SETTINGS.updated({"learning_rate": -1.0})
    with pytest.raises(UnknownNameError, match="fp16"):
        SETTINGS.updated({"precision": "fp16"})
    run = tiny(two_domains)
    with pytest.raises(ValueError, match="budget"):
        run.advance([0.5, 0.5], 101)
    with pytest.raises(ValueError, match="split"):
        run.evaluate("train")


def test_a_domain_too_small_for_a_window_is_named() -> None:
    corpus = load_corpus("nano8", domains=["recipes"], limit={"recipes": 10})
    with pytest.raises(CorpusError, match="recipes"):
        tiny(corpus)
