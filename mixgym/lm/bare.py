"""The training loop anyone would write with transformers, to measure our overhead against."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from statistics import median
from typing import TYPE_CHECKING

import torch

from mixgym.lm.threads import pinned_threads

if TYPE_CHECKING:
    from mixgym.lm.stream import Batch
    from mixgym.lm.training import TrainingRun


class BareLoop:
    """A plain loop with a copy of a run's model, its optimiser settings, precision and threads.

    It computes the loss as `transformers` does, clips, steps, and measures nothing. The run it is
    taken from is not changed, unless `copy_model=False` makes the loop train the run's own model.
    """

    def __init__(self, run: TrainingRun, *, copy_model: bool = True) -> None:
        self.run = run
        self.model = (copy.deepcopy(run.model) if copy_model else run.model).train()
        s = run.settings
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=s.learning_rate_at(run.total_steps // 2, run.total_steps),
            betas=s.betas,
            weight_decay=s.weight_decay,
            fused=True,
        )

    def train(self, batches: Iterable[Batch]) -> list[float]:
        """Train on `batches`; return the seconds of each step."""
        seconds = []
        with pinned_threads(self.run.settings.threads):
            for batch in batches:
                start = time.perf_counter()
                windows = torch.from_numpy(batch.tokens).to(self.run.settings.device)
                targets = windows[:, 1:].contiguous()
                with self.run.autocast():
                    loss = self.model(
                        input_ids=windows[:, :-1],
                        labels=targets,
                        shift_labels=targets,
                        use_cache=False,
                    ).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.run.settings.clip)
                self.optimiser.step()
                self.optimiser.zero_grad(set_to_none=True)
                seconds.append(time.perf_counter() - start)
        return seconds


def bare_milliseconds_per_step(run: TrainingRun, steps: int = 20) -> float:
    """Return the median milliseconds of a bare training step on `run`'s model and batch shape.

    Two steps more are taken first and not counted.
    """
    stream = run.stream.twin()
    batches = list(stream.batches(run.corpus.natural, steps + 2))
    return 1000.0 * median(BareLoop(run).train(batches)[2:])
