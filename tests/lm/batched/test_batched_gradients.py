import numpy as np
import pytest
from test_batched_run import GPT2, LLAMA, NEOX, batched, same, some_mixtures

from mixgym.corpus import Corpus
from mixgym.lm.settings import GradientSettings
from mixgym.lm.training import TrainingRun

OBJECTIVE = (0.5, 0, 0, 0.25, 0.25, 0, 0, 0)


@pytest.mark.parametrize("model", [NEOX, LLAMA, GPT2], ids=["neox", "llama", "tied"])
@pytest.mark.parametrize("every", [1, 3])
def test_gradient_signals_are_the_single_runs(nano8: Corpus, model: dict, every: int) -> None:
    gradients = GradientSettings(
        ("gram", "objective", "variance"), every=every, windows=3, objective=OBJECTIVE
    )
    together = batched(nano8, model, gradients=gradients, chunk=3)
    # Runs whose steps do not agree on which are measured.
    together.advance(some_mixtures(4, 8), 1, runs=[True, False, False, True])
    alone: list[TrainingRun] = [together.run(i) for i in range(4)]
    mixtures = some_mixtures(4, 8, 1)
    found = together.advance(mixtures, 4)
    for i, run in enumerate(alone):
        expected, own = run.advance(mixtures[i], 4), found[i]
        for name in (
            *("gram", "gradient_norms", "gradient_variance", "alignment"),
            *("objective_alignment", "objective_gradient_norm"),
        ):
            a, b = np.asarray(getattr(own, name)), np.asarray(getattr(expected, name))
            assert a.shape == b.shape and a.dtype == b.dtype, name
            scale = np.nanmax(np.abs(b)) if not np.isnan(b).all() else 1.0
            np.testing.assert_allclose(a, b, atol=2e-4 * scale, err_msg=name)
        mine, its = together.ledger[i].accounts["reward"], run.ledger.accounts["reward"]
        assert mine.tokens == its.tokens and mine.flops == its.flops


def test_measuring_changes_nothing_else(nano8: Corpus) -> None:
    mixtures = some_mixtures(4, 8)
    plain = batched(nano8).advance(mixtures, 4)
    measured = batched(nano8, gradients=GradientSettings()).advance(mixtures, 4)
    assert same(plain.train_loss, measured.train_loss)
    assert plain.gram is None and measured.gram is not None


def test_before_the_first_decision_nothing_is_measured(nano8: Corpus) -> None:
    gradients = GradientSettings(("gram", "objective"), objective=OBJECTIVE)
    run = batched(nano8, gradients=gradients)
    signals, expected = run.signals()[2], run.run(2).signals()
    assert signals.gram.shape == expected.gram.shape and np.isnan(signals.gram).all()
    assert np.isnan(signals.objective_gradient_norm)
    assert signals.objective_alignment.shape == expected.objective_alignment.shape


def test_an_objective_is_needed(nano8: Corpus) -> None:
    with pytest.raises(ValueError, match="objective"):
        batched(nano8, gradients=GradientSettings(("objective",)))
