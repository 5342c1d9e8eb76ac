"""Overhead of mixgym.deploy: the Trainer with a MixtureController against the same Trainer without.

    python benchmarks/deploy_overhead.py                       # both presets, twenty minutes
    python benchmarks/deploy_overhead.py --models nano --agents natural --repeats 12
    python benchmarks/deploy_overhead.py --models micro --agents ado 'temperature:{T: 3}'

Two Trainers of one model and one optimiser take turns in one thread, step by step, in the order
ours, plain, plain, ours. Load on a machine comes and goes within seconds and hits both alike; so do
the addresses of weights, gradients and a thread's own buffers, by which the steps of two equal
models, or of one model in two threads, differ by several per cent for a process's whole life. What
a step allocates lies elsewhere at every step. The plain Trainer reads its windows, drawn beforehand
by the natural mixture, from a list. The time of a step is everything between the ends of two steps
of a Trainer: fetching the batch, forward, backward, optimiser, callbacks and, at the end of a
decision, the agent. Validation losses, which an agent may ask for on top, are on the ledger's
account `reward` and left out. Every figure is the mean over fresh processes (`--repeats`), started
as `mixgym compare` starts its workers; in every other one the plain Trainer begins.

Columns of the CSV, a row for each model, agent and repeat:
  ms_per_step, plain_ms_per_step   mean milliseconds of a step
  ratio                            their quotient; its mean over the repeats should be at most 1.01
  median_ratio, lower_quartile, upper_quartile   of the quotients of whole decisions
  cpu_ratio                        quotient of the processor's time; steady on a busy machine

Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import greenlet
from tables import replace_rows

LIMIT = 1.01
OUT = Path(__file__).parent / "results" / "deploy"
FIELDS = (
    *("model", "agent", "repeat", "steps", "steps_per_decision"),
    *("ms_per_step", "plain_ms_per_step", "ratio", "median_ratio"),
    *("lower_quartile", "upper_quartile", "cpu_ratio"),
)


@dataclass
class Clock:
    """Seconds, and those of the processor, of every step that a Trainer took.

    `begin` and `end` belong between its steps; `end` hands over to whoever let it go on.
    """

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    started: tuple[float, float] = (0.0, 0.0)
    held: list[bytearray] = field(default_factory=list)
    sizes: random.Random = field(default_factory=lambda: random.Random(0))

    def begin(self) -> None:
        """Start the clock, with the step's tensors at addresses of their own."""
        self.held = [bytearray(64 * self.sizes.randrange(1, 4096)) for _ in range(8)]
        self.started = time.perf_counter(), time.process_time()

    def end(self, apart: float = 0.0) -> None:
        """Note the step, less the seconds `apart`."""
        self.seconds.append(time.perf_counter() - self.started[0] - apart)
        self.processor.append(time.process_time() - self.started[1] - apart)
        self.held.clear()
        parent = greenlet.getcurrent().parent
        assert parent is not None
        parent.switch()


def turn_callback(clock: Clock, controller: Any) -> Any:
    """Return a callback, to come last, that hands over at the end of every step."""
    from transformers import TrainerCallback

    class TakeTurns(TrainerCallback):
        paid = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            clock.begin()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            paid = controller.ledger.accounts["reward"].seconds if controller else 0.0
            clock.end(paid - self.paid)
            self.paid = paid
            clock.begin()

    return TakeTurns()


class Windows:
    """Windows drawn beforehand."""

    def __init__(self, tokens: Any) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


def measure(
    preset: str, agent: str, decisions: int, steps_per_decision: int, plain_first: bool
) -> dict[str, Any]:
    """Train both, in turns, and compare their steps; the first decision is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        return _measure(preset, agent, decisions, steps_per_decision, plain_first, folder)


def _measure(
    preset: str,
    agent: str,
    decisions: int,
    steps_per_decision: int,
    plain_first: bool,
    folder: str,
) -> dict[str, Any]:
    import numpy as np
    import torch
    from transformers import Trainer, TrainingArguments

    from mixgym.corpus import load_corpus
    from mixgym.deploy import MixtureController
    from mixgym.lm.models import build_model, model_config
    from mixgym.lm.settings import PRESETS
    from mixgym.lm.stream import MixtureStream

    torch.set_num_threads(1)
    corpus = load_corpus("nano8")
    settings = PRESETS[preset].settings
    config = model_config(preset, corpus.tokenizer.vocab_size, settings.context + 1)
    model = build_model(preset, config, 0)
    steps = (decisions + 1) * steps_per_decision
    args = TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        accelerator_config={"dispatch_batches": False},
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    stream = MixtureStream(corpus, settings.batch_size, settings.context, 0)
    windows = np.concatenate([b.tokens for b in stream.batches(corpus.natural, steps)])
    controller = MixtureController(corpus, agent, steps_per_decision, context=settings.context)
    ours, plain = Clock(), Clock()
    given = controller.trainer_arguments(args)
    given["callbacks"].append(turn_callback(ours, controller))
    dataset: Any = Windows(torch.from_numpy(windows))
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    shared: Any = {"model": model, "optimizers": (optimiser, None)}
    trainers = [
        Trainer(**shared, **given),
        Trainer(**shared, args=args, train_dataset=dataset, callbacks=[turn_callback(plain, None)]),
    ]
    both = [greenlet.greenlet(trainer.train) for trainer in trainers]
    one, other = reversed(both) if plain_first else both
    for _ in range(steps // 2):
        for trainer in (one, other, other, one):
            trainer.switch()
    cpu = sum(ours.processor[steps_per_decision:]) / sum(plain.processor[steps_per_decision:])
    return {**compare(ours.seconds, plain.seconds, steps_per_decision), "cpu_ratio": cpu}


def compare(ours: list[float], plain: list[float], per_decision: int) -> dict[str, Any]:
    """Return the figures of two lists of step times, without the first decision's."""
    a, b = ours[per_decision:], plain[per_decision:]
    ratios = [
        sum(a[i : i + per_decision]) / sum(b[i : i + per_decision])
        for i in range(0, len(a), per_decision)
    ]
    low, _, high = quantiles(ratios, n=4)
    return {
        "ms_per_step": 1000 * sum(a) / len(a),
        "plain_ms_per_step": 1000 * sum(b) / len(b),
        "ratio": sum(a) / sum(b),
        "median_ratio": median(ratios),
        "lower_quartile": low,
        "upper_quartile": high,
        "steps": len(a),
        "steps_per_decision": per_decision,
    }


def main() -> None:
    """Measure, print against the target, write deploy_overhead.csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=["nano", "micro"], help="presets")
    parser.add_argument(
        "--agents",
        nargs="*",
        default=["natural", "odm-smoothed"],
        help="agents as on mixgym's command line, or folders of saved policies",
    )
    parser.add_argument("--decisions", type=int, default=40, help="that are counted; at least 2")
    parser.add_argument("--steps-per-decision", type=int, default=20)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--repeats", type=int, default=4, help="processes a figure is the mean of")
    options = parser.parse_args()
    if options.decisions < 2 or options.steps_per_decision < 1 or options.repeats < 1:
        parser.error("--decisions must be at least 2, the other numbers at least 1")
    from mixgym.compare.statistics import mean_interval
    from mixgym.experiment.pool import WORKER_ENVIRONMENT

    os.environ.update(WORKER_ENVIRONMENT)  # read when the processes below begin
    rows = []
    for model in options.models:
        for agent in options.agents:
            ratios = []
            for repeat in range(options.repeats):
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    size = (options.decisions, options.steps_per_decision)
                    figures = pool.submit(measure, model, agent, *size, repeat % 2 == 1).result()
                rows.append({"model": model, "agent": agent, "repeat": repeat, **figures})
                ratios.append(figures["ratio"])
                print(
                    f"        {model} {agent} {repeat}: {figures['ratio']:.4f}, median "
                    f"{figures['median_ratio']:.4f}, processor {figures['cpu_ratio']:.4f}, "
                    f"{figures['ms_per_step']:.2f} ms against {figures['plain_ms_per_step']:.2f}",
                    flush=True,
                )
            found = mean_interval(ratios)
            verdict = "holds" if found.mean <= LIMIT else "MISSED"
            half = (found.high - found.low) / 2
            print(f"{verdict:7} {model} {agent}: {found.mean:.4f} ± {half:.4f} (<= {LIMIT:g})")
    replace_rows(options.out / "deploy_overhead.csv", rows, ("model", "agent"), FIELDS)


if __name__ == "__main__":
    main()
