"""A run inside a Trainer between two optimiser steps, as JSON-plain values and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mixgym.deploy.run import TrainerRun
from mixgym.errors import CheckpointError
from mixgym.ledger import Ledger
from mixgym.lm.state import nan_to_none

_SAMPLES = 8


def capture(run: TrainerRun) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the state of `run`; model and optimiser are the Trainer's to save.

    With several processes all must call it; what they hold of the decision under way is put
    together. Sums of gradients are added up now rather than at its end: a run of several processes
    with gradient signals that was saved amid a decision has them, after resuming, but for
    rounding; everything else, and every run of one process, goes on bit for bit.
    """
    recorded = run.gathered()
    tensors = {f"before.{i}": old for i, old in enumerate(run._weights_before)}
    if recorded:
        tensors["losses"] = torch.stack([losses for _, losses in recorded])
        tensors["domains"] = torch.from_numpy(np.stack([domains for domains, _ in recorded]))
    for i, total in enumerate(_gradient_sums(run)):
        total = total.clone()
        run.ranks.add(total)
        tensors[f"gradients.{i}"] = total
    scalars = {
        "step": run.step,
        "decision": run.decision,
        "diverged": run.diverged,
        "seconds": run.elapsed(),
        "learning_rate": nan_to_none(np.array([run.learning_rate]))[0],
        "train_loss": nan_to_none(run._train_loss),
        "loss_before": nan_to_none(run._loss_before),
        "last_seen": run._last_seen.tolist(),
        "mixture": run._mixture.tolist(),
        "norms": run._norms.tolist(),
        "drawn_before": run._drawn_before.tolist(),
        "stream": run.stream.state_dict(),
        "ledger": run.ledger.to_json(),
        "journal": run.journal.to_json(),
        "weights": _samples(run.model),
    }
    return scalars, {name: x.detach().cpu().contiguous() for name, x in tensors.items()}


def restore(
    run: TrainerRun, scalars: dict[str, Any], tensors: dict[str, torch.Tensor], end: int
) -> None:
    """Let a run that has replayed its journal go on exactly where `capture` was taken.

    Args:
        run: a run of the same corpus, settings and number of processes.
        scalars, tensors: of `capture`.
        end: optimiser step at which the decision under way ends.

    Raises:
        CheckpointError: the Trainer did not restore the weights.
    """
    _check_weights(run.model, scalars["weights"])
    run.step, run.decision = scalars["step"], scalars["decision"]
    run.diverged = scalars["diverged"]
    rate = scalars["learning_rate"]
    run.learning_rate = float("nan") if rate is None else rate
    run._train_loss = np.array(scalars["train_loss"], dtype=np.float64)
    run._last_seen = np.array(scalars["last_seen"], dtype=np.int64)
    run._norms = np.array(scalars["norms"], dtype=np.float64)
    run.stream.load_state_dict(scalars["stream"])
    run.ledger = Ledger.from_json(scalars["ledger"])
    run.go_on()
    run.begin(np.array(scalars["mixture"], dtype=np.float64), end - run.step)
    run._started -= scalars["seconds"]
    run._loss_before = np.array(scalars["loss_before"], dtype=np.float64)
    run._drawn_before = np.array(scalars["drawn_before"], dtype=np.int64)
    for i, (_, parameter) in enumerate(run._layers):
        run._weights_before[i] = tensors[f"before.{i}"].to(parameter.device)
    if "losses" in tensors:
        device = next(run.model.parameters()).device
        shape = (len(tensors["losses"]), run.accumulation, run.ranks.world, -1)
        own = tensors["losses"].view(shape)[:, :, run.ranks.rank].to(device)
        domains = tensors["domains"].view(len(own), run.accumulation, -1).numpy()
        run._recorded = [list(zip(*step, strict=True)) for step in zip(domains, own, strict=True)]
    if run.ranks.rank == 0:  # the others begin at nothing: the sums are added up at the decision
        for i, total in enumerate(_gradient_sums(run)):
            total.copy_(tensors[f"gradients.{i}"])


def _gradient_sums(run: TrainerRun) -> list[torch.Tensor]:
    gradients = run._gradients
    if gradients is None:
        return []
    return [*gradients.sums, torch.from_numpy(gradients.counts)]  # shares the counts' memory


def _samples(model: torch.nn.Module) -> dict[str, list[float]]:
    """A few entries of every parameter, spread evenly."""
    return {
        name: parameter.detach().flatten()[:: max(1, parameter.numel() // _SAMPLES)].tolist()
        for name, parameter in model.named_parameters()
    }


def _check_weights(model: torch.nn.Module, saved: dict[str, list[float]]) -> None:
    # transformers 5 writes some architectures' weights under older names (GPT-NeoX's lm_head as
    # embed_out), which the Trainer then does not find again: it warns and trains on.
    ours = _samples(model)
    wrong = [
        name
        for name in {**saved, **ours}
        if not np.array_equal(saved.get(name, []), ours.get(name, []), equal_nan=True)
    ]
    if wrong:
        raise CheckpointError(
            f"the Trainer did not restore the weights of {', '.join(wrong[:3])}"
            f"{' and others' if len(wrong) > 3 else ''}: build the model by from_pretrained("
            "CHECKPOINT) before you resume, which knows their names in the file"
        )
