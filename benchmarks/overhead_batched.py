"""Batched runs against worker processes on the CPU: part `batched` of overhead.py."""

from __future__ import annotations

import time
from typing import Any

from crew import crew_seconds

#: Runs that are to be trained.
NUMBERS = (2, 8, 32)
STEPS = 10

WORKER = """
import sys
from mixgym.corpus import load_corpus
from mixgym.lm.training import TrainingRun
corpus, steps = load_corpus("nano8"), int(sys.argv[2])
runs = [TrainingRun(corpus, sys.argv[1], total_steps=10**6, seed=int(s)) for s in sys.argv[3:]]
for run in runs:
    run.advance(corpus.natural, 2)
print("ready", flush=True)
sys.stdin.readline()
for run in runs:
    run.advance(corpus.natural, steps)
print("done", flush=True)
"""


def batched(model: str, N: int, workers: int, rounds: int = 3) -> dict[str, Any]:
    """Compare the seconds in which N runs take `STEPS` steps: in one batch, and in processes.

    Each process has one thread and N / `workers` of the runs; the batch has as many threads as
    there are workers, so that both may use the same cores. The two alternate.
    """
    import numpy as np

    from mixgym.corpus import load_corpus
    from mixgym.lm.batched import BatchedRun
    from mixgym.lm.settings import PRESETS

    corpus = load_corpus("nano8")
    settings = PRESETS[model].settings.updated({"threads": workers})
    together = BatchedRun(corpus, model, range(N), total_steps=10**6, settings=settings)
    mixtures = np.tile(corpus.natural, (N, 1))
    together.advance(mixtures, 2)
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        together.advance(mixtures, STEPS)
        seconds = time.perf_counter() - start
        found.append((seconds, _in_processes(model, N, workers)))
    batch, processes = (float(np.median(column)) for column in zip(*found, strict=True))
    ratio = float(np.median([own / other for own, other in found]))
    return {"batched_s": batch, "processes_s": processes, "ratio": ratio}


def _in_processes(model: str, N: int, workers: int) -> float:
    seeds = [map(str, range(first, N, workers)) for first in range(min(workers, N))]
    return crew_seconds(WORKER, [(model, str(STEPS), *own) for own in seeds])
