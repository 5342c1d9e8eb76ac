"""The whole state of N runs as tensors and JSON-plain scalars; one of them as a single run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from mixgym.errors import CheckpointError
from mixgym.lm.batched.context import batched_torch_state
from mixgym.lm.batched.ledger import BatchedLedger
from mixgym.lm.training import Snapshot, TrainingRun

if TYPE_CHECKING:
    from mixgym.corpus import Corpus
    from mixgym.lm.batched.run import BatchedRun

#: What the rows are called in a state, as a single run's optimiser has them.
_PREFIXES = ("model.", "optimiser.exp_avg.", "optimiser.exp_avg_sq.")


def capture(run: BatchedRun) -> dict[str, Any]:
    """Return `tensors` (name -> copied (N, ...) tensor) and `scalars` (JSON-plain) of `run`."""
    with batched_torch_state(run.settings, run.precision):
        tensors = {
            prefix + name: view.clone()
            for prefix, rows in zip(_PREFIXES, run.engine.rows.tensors(), strict=True)
            for name, view in run.engine.layout.views(rows).items()
        }
    return {
        "tensors": tensors,
        "scalars": {
            "seeds": list(run.seeds),
            "recorder": run.recorder.state_dict(),
            "stream": run.stream.state_dict(),
            "ledger": run.ledger.to_json(),
        },
    }


def restore(run: BatchedRun, state: Mapping[str, Any]) -> None:
    """Put `run` exactly where `state` was captured (same corpus, model, settings and N).

    Raises:
        CheckpointError: another number of runs, another corpus, or other tensors.
    """
    tensors, scalars = state["tensors"], state["scalars"]
    if len(scalars["seeds"]) != run.N:
        raise CheckpointError(
            f"the state holds {len(scalars['seeds'])} runs, this batch {run.N}: load it into as "
            "many"
        )
    views = {
        prefix + name: view
        for prefix, rows in zip(_PREFIXES, run.engine.rows.tensors(), strict=True)
        for name, view in run.engine.layout.views(rows).items()
    }
    for name, view in views.items():
        if name not in tensors or tensors[name].shape != view.shape:
            raise CheckpointError(f"the state has no tensor {name} of shape {tuple(view.shape)}")
    run.stream.load_state_dict(scalars["stream"])
    with batched_torch_state(run.settings, run.precision):
        for name, view in views.items():
            view.copy_(tensors[name])
    run.seeds = list(scalars["seeds"])
    run.recorder.load_state_dict(scalars["recorder"])
    run.ledger = BatchedLedger.from_json(scalars["ledger"])


def single(run: BatchedRun, i: int) -> TrainingRun:
    """Return run i of `run` as an ordinary `TrainingRun`."""
    if not -run.N <= i < run.N:
        raise IndexError(f"run {i} of {run.N}")
    i %= run.N
    rate = float(run.learning_rates[i])
    alone = TrainingRun(
        run.corpus,
        run.model_spec,
        total_steps=run.total_steps,
        seed=run.seeds[i],
        settings=replace(run.settings, learning_rate=rate),
        evaluation_seed=run.evaluation_seed,
        gradients=run.gradients,
    )
    saved = alone.state_dict()
    tensors, taken = saved["tensors"], int(run.step[i])
    with batched_torch_state(run.settings, run.precision):
        for prefix, rows in zip(_PREFIXES, run.engine.rows.tensors(), strict=True):
            if prefix != "model." and not taken:
                continue
            for name, view in run.engine.layout.views(rows[i : i + 1]).items():
                tensors[prefix + name] = view[0].clone()
        for name in run.engine.layout.names if taken else ():
            tensors[f"optimiser.step.{name}"] = torch.tensor(float(taken))
    saved["scalars"] |= {
        **run.recorder.single(i),
        "stream": run.stream.single(i).state_dict(),
        "ledger": run.ledger[i].to_json(),
    }
    alone.load_state_dict(saved)
    return alone


def recipe(run: BatchedRun) -> tuple[type[BatchedRun], Corpus, dict[str, Any], Snapshot]:
    """Return what `rebuilt` makes an equal batch of; the tensors are copied, the text is not."""
    arguments = {
        "model": run.model_spec,
        "seeds": list(run.seeds),
        "total_steps": run.total_steps,
        "settings": run.settings,
        "evaluation_seed": run.evaluation_seed,
        "gradients": run.gradients,
        **run.how,
    }
    return type(run), run.corpus, arguments, Snapshot(run.config.to_dict(), capture(run))


def rebuilt(
    kind: type[BatchedRun], corpus: Corpus, arguments: dict[str, Any], snapshot: Snapshot
) -> BatchedRun:
    """Return the batch that goes on where its `recipe` was taken."""
    return kind(corpus, **arguments, snapshot=snapshot)
