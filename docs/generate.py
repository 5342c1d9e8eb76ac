"""Write the pages that are made from the code: one an environment, and the presets table.

python docs/generate.py           # rewrite them
python docs/generate.py --check   # exit 1 if one is out of date
"""

from __future__ import annotations

import argparse
import csv
import inspect
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from results_page import results_page

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"


def environment_page(env_id: str) -> str:
    """Return the page of one environment: docstring, live spaces, costs and baselines."""
    import gymnasium as gym

    import mixgym  # noqa: F401

    env: Any = gym.make(env_id, disable_env_checker=True).unwrapped
    doc = inspect.cleandoc(type(env).__doc__ or "")
    a, settings = env.arguments, env.settings
    facts = {
        "Action space": f"`{env.action_space}`",
        "Observation space": f"`{env.observation_space}`",
        "Make": f'`gym.make("{env_id}")`',
        "Domains": f"{env.task.K} of corpus `{a.corpus}`",
        "Model": f"`{a.model}`, context {settings.context}, batch {settings.batch_size}, "
        f"learning rate {settings.learning_rate:g}",
        "Budget": f"{a.decisions} decisions of {a.steps_per_decision} steps = "
        f"{a.decisions * a.steps_per_decision:,} LM steps, "
        f"{a.decisions * a.steps_per_decision * settings.batch_size * settings.context:,} tokens",
    }
    lines = [f"# {env_id}", ""]
    lines += ["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in facts.items()), ""]
    lines += [doc, "", "## Domains", ""]
    lines += ["| domain | natural share | weight in the objective | training text | group |"]
    lines += ["|---|---|---|---|---|"]
    for k, domain in enumerate(env.corpus.domains):
        group = ", ".join(g for g, m in env.task.groups.items() if domain.name in m) or "-"
        lines.append(
            f"| {domain.name} | {env.task.natural[k]:.2%} | {env.task.objective[k]:.3f} | "
            f"{domain.bytes('train') / 1e6:.2f} MB | {group} |"
        )
    lines += ["", *info_table(type(env).INFO), "", *cost_card(env_id), *baseline_card(env_id)]
    return "\n".join(lines).rstrip() + "\n"


def info_table(own: dict[str, str] | None = None) -> list[str]:
    """Return the table of info's keys, the same at reset and step; `own` are an environment's."""
    rows = {
        "mixture": "(K,) float64: the mixture applied; sums to one",
        "counts": "(K,) float32: sequences drawn since the previous decision",
        "train_loss": "(K,) float32: running mean, nats per byte; inf where never sampled",
        "validation_loss": "(K,) float32: nats per byte; inf where not measured",
        "epochs": "(K,) float32: passes over each domain's training text",
        "starved": "(K,) bool: positive weight, but no sequence drawn",
        "objective_loss": "float: objective's validation loss; inf where not measured",
        "scalar_reward": "float: reward of the decision as one number; 0 at reset",
        "reward_terms": "dict of float: every reward term before weighting",
        "reward_vectors": "dict of (K,) float64: the values a domain behind terms that have them",
        "step": "int: LM optimiser steps done",
        "decision": "int: decisions done",
        "diverged": "() bool: whether the run did",
        "ledger": "dict of account to `tokens` and `flops`",
        "run_seed": "int: seed of this run",
        "corpus_hash": "str: content hash of the corpus",
        **(own or {}),
    }
    return [
        "## Info",
        "",
        "| key | value |",
        "|---|---|",
        *(f"| `{k}` | {v} |" for k, v in rows.items()),
    ]


def cost_card(env_id: str) -> list[str]:
    """Return the cost card, from benchmarks/results/overhead/overhead.csv."""
    from benchmarks.beside import ENVIRONMENTS

    path = RESULTS / "overhead" / "overhead.csv"
    subject = {v: k for k, v in ENVIRONMENTS.items()}.get(env_id)
    if not path.exists():
        return []
    figures: dict[str, str] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            if row["subject"] == subject:
                figures[f"{row['part']}.{row['figure']}"] = row["value"]
    names = {
        "episode.episode_s": ("one episode on one core, evaluations included", "{:.1f} s"),
        "episode.train_s": ("of which training", "{:.1f} s"),
        "episode.reward_s": ("of which the reward's evaluations", "{:.1f} s"),
        "episode.tokens_per_step": ("LM tokens a step", "{:.0f}"),
        "steps.ratio": ("time of an LM step against a bare loop", "{:.3f}x"),
        "memory.environment_MiB": ("peak memory", "{:.0f} MiB"),
        "memory.ratio": ("peak memory against a bare loop", "{:.3f}x"),
    }
    rows = [
        f"| {label} | {form.format(float(figures[key]))} |"
        for key, (label, form) in names.items()
        if key in figures
    ]
    if not rows:
        return []
    return [
        "## Cost",
        "",
        "Measured by `make bench` on one machine; ratios carry over, seconds do not.",
        "",
        "| | |",
        "|---|---|",
        *rows,
        "",
    ]


def baseline_card(env_id: str) -> list[str]:
    """Return the baselines' final test losses, from the suite that has them."""
    losses: dict[str, list[float]] = {}
    for suite in ("foundation", "micro-target"):
        path = RESULTS / suite / "summary.csv"
        if not path.exists():
            continue
        with path.open() as file:
            for row in csv.DictReader(file):
                if row["env"] == env_id:
                    losses.setdefault(row["agent"], []).append(float(row["objective_test_loss"]))
        if losses:
            break
    else:
        return []
    lines = [
        "## Baselines",
        "",
        "Final test loss of the objective in nats per byte over paired seeds, suite "
        f"`{suite}` (benchmarks/results/{suite}, where the exact command is).",
        "",
        "| agent | mean | standard deviation over seeds | seeds |",
        "|---|---|---|---|",
    ]
    for agent, values in sorted(losses.items(), key=lambda item: statistics.mean(item[1])):
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        lines.append(f"| {agent} | {statistics.mean(values):.4f} | {spread:.4f} | {len(values)} |")
    return [*lines, ""]


PRESETS = """# How the presets were chosen

Every candidate trained on `core19`'s uniform mixture for the same seconds of one core's processor
time, evaluation not counted, and was evaluated on the way (64 validation windows a domain, mean
over the nineteen domains). Lower is better; compare within a column. Models differ in how much
text a window shows them, which is part of the comparison; losses are per byte, so tokenizers
compare too. `benchmarks/presets.yml` has the candidates.

    {command}

"""

PRESETS_END = """
One seed each, two candidates at a time on two cores and nothing else. An earlier measurement of the
byte candidates, on a machine that did other work, was lower by 0.02 to 0.18 and ordered neighbours
differently.

What was chosen, and why:

- **micro** is d64-L2-c64-b32: the best of the byte candidates in the earlier measurement, second
  by 0.05 to d32-L2-c128-b16 here. On one CPU core a minute buys a few 1e12 operations, for
  which about 0.1 M parameters are the right size; the 0.86 M-parameter model is far behind at
  every column, which is why `micro` is smaller than the "about 1 M" of the first plan. Its
  learning rate is 0.003 rather than 0.008, which gives up a little speed for less noise between
  seeds.
- **nano** is d32-L2 with a context of 64: nano's episodes end within seconds, where the best byte
  candidates differ by less than the two measurements do, and the smaller model takes the shorter
  steps.
- **Bytes** stay the default although a trained BPE is the better language model for the time, by
  0.6 bits a byte: a window of 64 of its tokens shows a model more text. With bytes there is no
  tokenizer to choose, and an environment means the same on every corpus. For the lowest loss on
  your own text say `tokenizer="bpe-1024"`; 4096 tokens are hardly better and take twice the time
  a step.
"""


def presets_page() -> str:
    """Return the page of the presets' measurements, from benchmarks/results/presets."""
    with (RESULTS / "presets" / "presets.csv").open() as file:
        rows = list(csv.DictReader(file))
    marks = sorted({float(row["seconds"]) for row in rows})
    by_name: dict[str, dict[float, dict[str, str]]] = {}
    for row in rows:
        by_name.setdefault(row["candidate"], {})[float(row["seconds"])] = row
    seconds = f"{marks[-1]:g}"
    command = f"python benchmarks/presets.py --corpus core19 --seconds {seconds} --workers 2"
    lines = [
        "| candidate | parameters | ms/step | tokens | "
        + " | ".join(f"bits/byte at {m:g} s" for m in marks)
        + " |",
        "|---" * (4 + len(marks)) + "|",
    ]
    for name, cells in sorted(
        by_name.items(), key=lambda i: float(i[1][marks[-1]]["bits_per_byte"])
    ):
        last = cells[marks[-1]]
        values = " | ".join(f"{float(cells[m]['bits_per_byte']):.3f}" for m in marks)
        lines.append(
            f"| `{name}` | {int(last['parameters']):,} | {float(last['ms_per_step']):.1f} | "
            f"{int(last['tokens']) / 1e6:.2f} M | {values} |"
        )
    return PRESETS.format(command=command) + "\n".join(lines) + "\n" + PRESETS_END


def pages() -> dict[Path, str]:
    """Return every generated page."""
    from mixgym.envs.registration import ENVIRONMENTS

    result: dict[Path, str] = {}
    for env_id in ENVIRONMENTS:
        name, version = env_id.split("/")[1].replace("mo-", "Mo").split("-")
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        name += "" if version == "v0" else f"_{version}"
        result[DOCS / "environments" / f"{name}.md"] = environment_page(env_id)
    result[DOCS / "presets.md"] = presets_page()
    result[DOCS / "results.md"] = results_page()
    return result


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(DOCS.parent))
    stale = []
    for path, text in pages().items():
        if options.check:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(str(path.relative_to(DOCS.parent)))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(DOCS.parent))
    if stale:
        sys.exit(f"out of date: {', '.join(stale)}; run make docs")


if __name__ == "__main__":
    main()
