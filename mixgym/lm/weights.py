"""A model's parameters as they were at one moment."""

from __future__ import annotations

import torch

from mixgym.lm.run import ModelRun


class Weights:
    """The parameters of a run's model when this was made, in memory; copies share them.

    Args:
        run: whose parameters are copied; it can train on.
    """

    def __init__(self, run: ModelRun) -> None:
        with torch.inference_mode(False):
            self._tensors = {
                name: parameter.detach().cpu().clone()
                for name, parameter in run.model.named_parameters()
            }

    def load_into(self, run: ModelRun) -> None:
        """Give `run`, of the same model, these parameters, and nothing else."""
        with torch.no_grad():
            for name, parameter in run.model.named_parameters():
                parameter.copy_(self._tensors[name])
        run.refresh_norms()

    def __deepcopy__(self, memo: dict[int, object]) -> Weights:
        return self
