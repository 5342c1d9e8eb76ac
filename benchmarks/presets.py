"""Measure candidate presets: validation bits per byte against one core's seconds.

Every candidate trains on a corpus's uniform mixture until it has used its seconds of one core's
processor time (evaluation not counted), and is evaluated on the way. Finished candidates are
kept, so that the command can be interrupted and repeated.

    python benchmarks/presets.py --corpus core19 --seconds 60 --workers 2
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
FIELDS = [
    "corpus", "candidate", "parameters", "width", "layers", "heads", "context", "batch_size",
    "learning_rate", "tokenizer", "seconds", "steps", "tokens", "ms_per_step", "bits_per_byte",
]  # fmt: skip


def measure(candidate: dict[str, Any], corpus_name: str, seconds: float) -> list[dict[str, Any]]:
    """Train one candidate; return a row for each checkpoint of its time."""
    import numpy as np

    from mixgym.corpus import load_corpus
    from mixgym.lm.settings import Settings, gpt_neox
    from mixgym.lm.training import TrainingRun

    corpus = load_corpus(corpus_name, tokenizer=candidate["tokenizer"])
    settings = Settings(
        context=candidate["context"],
        batch_size=candidate["batch_size"],
        learning_rate=candidate["learning_rate"],
        warmup_steps=candidate.get("warmup_steps", 50),
        precision=candidate.get("precision", "fp32"),
    )
    model = gpt_neox(candidate["width"], candidate["layers"], candidate["heads"])
    run = TrainingRun(corpus, model, total_steps=10**6, settings=settings)
    uniform = np.full(corpus.K, 1 / corpus.K)
    rows, used = [], 0.0
    for mark in [seconds * share for share in (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)]:
        while used < mark:
            start = time.thread_time()
            run.advance(uniform, 5)
            used += time.thread_time() - start
        loss = float(np.mean(run.evaluate(windows=64)))
        rows.append(
            {
                "corpus": corpus_name,
                "candidate": name_of(candidate),
                "parameters": run.n_parameters,
                **{k: candidate[k] for k in FIELDS if k in candidate},
                "seconds": mark,
                "steps": run.step,
                "tokens": run.ledger.accounts["train"].tokens,
                "ms_per_step": round(1000 * used / run.step, 2),
                "bits_per_byte": round(loss / math.log(2), 4),
            }
        )
    return rows


def name_of(candidate: dict[str, Any]) -> str:
    """Return a candidate's short name."""
    return (
        f"d{candidate['width']}-L{candidate['layers']}-c{candidate['context']}"
        f"-b{candidate['batch_size']}-lr{candidate['learning_rate']:g}-{candidate['tokenizer']}"
    )


def expand(grid: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of a grid's lists."""
    keys = list(grid)
    values = [v if isinstance(v, list) else [v] for v in grid.values()]
    return [dict(zip(keys, combination, strict=True)) for combination in itertools.product(*values)]


def main() -> None:
    """Run the candidates of benchmarks/presets.yml that have no rows yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default="core19")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--grids", nargs="*", help="names of grids in presets.yml; all by default")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "presets" / "presets.csv")
    options = parser.parse_args()
    grids = yaml.safe_load((HERE / "presets.yml").read_text())
    chosen = options.grids or list(grids)
    candidates = {name_of(c): c for g in chosen for part in grids[g] for c in expand(part)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done: set[tuple[str, str]] = set()
    if options.out.exists():
        with options.out.open() as file:
            rows = csv.DictReader(file)
            done = {(r["corpus"], r["candidate"]) for r in rows if float(r["seconds"]) >= 1}
    todo = [c for n, c in candidates.items() if (options.corpus, n) not in done]
    print(f"{len(todo)} candidates of {options.seconds:g} s to measure", flush=True)
    with ProcessPoolExecutor(options.workers) as pool:
        futures = [pool.submit(measure, c, options.corpus, options.seconds) for c in todo]
        for future in as_completed(futures):
            rows = future.result()
            fresh = not options.out.exists()
            with options.out.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                if fresh:
                    writer.writeheader()
                writer.writerows(rows)
            last = rows[-1]
            print(
                f"{last['candidate']:40} {last['parameters']:>9,} parameters "
                f"{last['ms_per_step']:7.1f} ms/step  {last['bits_per_byte']:.3f} bits/byte",
                flush=True,
            )


if __name__ == "__main__":
    main()
