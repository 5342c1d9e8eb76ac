"""Batched runs on an accelerator: throughput, memory and share of the roofline.

    python benchmarks/gpu/batched.py --out DIR           # on a GPU, meant for eight minutes
    python benchmarks/gpu/batched.py --out DIR --tiny    # every step of it on the CPU, a minute

Rows of batched.csv, written after every figure: `model`, `N`, `precision`, `compiled`, `chunk`;
`steps_per_s` (steps of single models), `times_core` (that against one core of the same machine
running `TrainingRun`), `decisions_per_s` (10 steps and the validation loss on 16 windows of every
domain), `peak_MiB`, `roofline` (see below), and `limit`, what the roofline is bound by.

The roofline's time of a model's step is the larger of flops / peak and bytes / bandwidth, by count:
    flops = 6 P T + 12 L w c T    P parameters, T = B c tokens of a step, L layers of width w,
                                  c the context
    bytes = 44 P + 3 s L T (34 w + 5 h c) + 12 T V
with h heads, V the vocabulary, and s bytes an activation (2 in bf16, else 4): parameters and
gradients are read and written 11 times a step (twice for the passes, twice for the gradient, seven
times by AdamW), activations are written once and read twice, and so are logits in fp32. `roofline`
is that time divided by the measured one.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import replace_rows

from mixgym.corpus import Corpus, load_corpus
from mixgym.lm.batched import BatchedRun
from mixgym.lm.training import Snapshot, TrainingRun

KEY = ("model", "N", "precision", "compiled")
FIELDS = (
    *KEY,
    *("chunk", "steps_per_s", "times_core", "decisions_per_s", "peak_MiB", "roofline", "limit"),
)
#: Steps and validation windows a domain of a decision; with --tiny.
DECISION, TINY = (10, 16), (2, 2)
#: device's name holds -> FLOP/s by precision, and bytes/s.
PEAKS = {
    "H100": ({"fp32": 67e12, "tf32": 495e12, "bf16": 989e12}, 3.35e12),
    "H200": ({"fp32": 67e12, "tf32": 495e12, "bf16": 989e12}, 4.8e12),
    "A100": ({"fp32": 19.5e12, "tf32": 156e12, "bf16": 312e12}, 2.0e12),
}


def tiled(few: BatchedRun, N: int) -> Snapshot:
    """Return a snapshot of N runs that are copies of a few: building N models takes longer."""
    state, places = few.state_dict(), np.arange(N) % few.N

    def repeat(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: repeat(part) for name, part in value.items()}
        return [value[i] for i in places] if isinstance(value, list) else value

    tensors = {name: value[torch.from_numpy(places)] for name, value in state["tensors"].items()}
    return Snapshot(few.config.to_dict(), {"tensors": tensors, "scalars": repeat(state["scalars"])})


def rate(work: Any, seconds: float) -> float:
    """Return calls of `work` a second, after one that is not counted."""
    work()
    start, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - start < seconds:
        work()
        calls += 1
    return calls / (time.perf_counter() - start)


def core_rate(corpus: Corpus, model: str, seconds: float, steps: int) -> float:
    """Return a single run's steps a second on one core."""
    run = TrainingRun(corpus, model, total_steps=10**6)
    return steps * rate(lambda: run.advance(corpus.natural, steps), seconds)


def roofline(run: BatchedRun) -> tuple[float, str]:
    """Return the least seconds of a model's step on this device and what bounds it, or NaN."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    found = next((peaks for part, peaks in PEAKS.items() if part in name), None)
    if found is None:
        return float("nan"), ""
    c, s = run.config, run.settings
    L, w, h = c.num_hidden_layers, c.hidden_size, c.num_attention_heads
    T, P, size = s.batch_size * s.context, run.n_parameters, 2 if run.precision == "bf16" else 4
    flops = 6 * P * T + 12 * L * w * s.context * T
    moved = 44 * P + 3 * size * L * T * (34 * w + 5 * h * s.context) + 12 * T * c.vocab_size
    times = {"flops": flops / found[0][run.precision], "bytes": moved / found[1]}
    limit = max(times, key=lambda name: times[name])
    return times[limit], limit


def measure(
    few: BatchedRun,
    N: int,
    how: dict[str, Any],
    core: float,
    seconds: float,
    decision: tuple[int, int],
) -> dict[str, Any]:
    """Return a row: N runs that train together."""
    cuda = few.settings.device != "cpu"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run = BatchedRun(
        few.corpus,
        few.model_spec,
        list(range(N)),
        total_steps=10**6,
        settings=few.settings,
        snapshot=tiled(few, N),
        **how,
    )
    mixtures = np.random.default_rng(0).dirichlet(np.ones(few.corpus.K), N)
    steps, windows = decision
    steps_per_s = N * steps * rate(lambda: run.advance(mixtures, steps), seconds)

    def decide() -> None:
        run.advance(mixtures, steps)
        run.evaluate(windows=windows)

    decisions = N * rate(decide, seconds)
    least, limit = roofline(run)
    return {
        "chunk": run.engine.chunk,
        "steps_per_s": steps_per_s,
        "times_core": steps_per_s / core,
        "decisions_per_s": decisions,
        "peak_MiB": torch.cuda.max_memory_allocated() / 2**20 if cuda else float("nan"),
        "roofline": least * steps_per_s,
        "limit": limit,
    }


def main() -> None:
    """Measure everything that time allows, most wanted first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--minutes", type=float, default=7.0, help="no figure is begun after")
    parser.add_argument("--tiny", action="store_true", help="small, on the CPU")
    options = parser.parse_args()
    begin = time.perf_counter()
    device, seconds = ("cpu", 0.0) if options.tiny else ("cuda", 1.5)
    ways = [("fp32", "graphs"), ("fp32", "none"), ("tf32", "graphs"), ("bf16", "graphs")]
    ways += [("fp32", "compile")]
    sizes = [1024, 256, 64, 16, 1, 4096]
    if options.tiny:
        ways, sizes = [("fp32", "none"), ("bf16", "none")], [2]
    decision = TINY if options.tiny else DECISION
    corpus = load_corpus("nano8")

    def add(row: dict[str, Any]) -> None:
        replace_rows(options.out / "batched.csv", [row], KEY, FIELDS)
        shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
        print(f"{time.perf_counter() - begin:6.1f} s", shown, flush=True)

    cores, few = {}, {}
    for model in ("nano", "micro"):
        cores[model] = core_rate(corpus, model, 4 * seconds, decision[0])
        add(
            dict.fromkeys(FIELDS, "")
            | dict(zip(KEY, (model, 1, "fp32", "core"), strict=True))
            | {"steps_per_s": cores[model], "times_core": 1.0}
        )
        settings = BatchedRun(corpus, model, total_steps=1).settings.updated({"device": device})
        seeds = range(2 if options.tiny else 8)
        few[model] = BatchedRun(corpus, model, seeds, total_steps=10**6, settings=settings)
    for N, (precision, compiled), model in product(sizes, ways, few):
        if time.perf_counter() - begin > 60 * options.minutes:
            print("out of time", flush=True)
            break
        if compiled == "compile" and N not in (256, 1024):
            continue
        how = {"precision": precision, "compiled": compiled}
        try:
            row = measure(few[model], N, how, cores[model], seconds, decision)
        except Exception as error:  # one way that fails must not cost the figures of the others
            print(f"{model} N={N} {how}: {type(error).__name__}: {error}", flush=True)
            continue
        add(dict(zip(KEY, (model, N, precision, compiled), strict=True)) | row)


if __name__ == "__main__":
    main()
