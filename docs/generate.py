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
    lines += ["", *info_table(), "", *cost_card(env_id), *baseline_card(env_id)]
    return "\n".join(lines).rstrip() + "\n"


def info_table() -> list[str]:
    """Return the table of info's keys, the same at reset and step."""
    rows = {
        "mixture": "(K,) float64: the mixture applied; sums to one",
        "counts": "(K,) float32: sequences drawn since the previous decision",
        "train_loss": "(K,) float32: running mean, nats per byte; inf where never sampled",
        "validation_loss": "(K,) float32: nats per byte; inf where not measured",
        "epochs": "(K,) float32: passes over each domain's training text",
        "starved": "(K,) bool: positive weight, but no sequence drawn",
        "objective_loss": "float: objective's validation loss; inf where not measured",
        "reward": "float: reward of the decision; 0 at reset",
        "reward_terms": "dict of float: every reward term before weighting",
        "reward_vectors": "dict of (K,) float64: the values a domain behind terms that have them",
        "step": "int: LM optimiser steps done",
        "decision": "int: decisions done",
        "diverged": "bool",
        "ledger": "dict of account to `tokens` and `flops`",
        "run_seed": "int: seed of this run",
        "corpus_hash": "str: content hash of the corpus",
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
    from benchmarks.overhead import ENVIRONMENTS

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
    """Return the baselines' final test losses, from benchmarks/results/foundation."""
    path = RESULTS / "foundation" / "summary.csv"
    if not path.exists():
        return []
    losses: dict[str, list[float]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            if row["env"] == env_id:
                losses.setdefault(row["agent"], []).append(float(row["objective_test_loss"]))
    if not losses:
        return []
    lines = [
        "## Baselines",
        "",
        "Final test loss of the objective in nats per byte over paired seeds, suite `foundation` "
        "(benchmarks/results/foundation, where the exact command is).",
        "",
        "| agent | mean | standard deviation over seeds | seeds |",
        "|---|---|---|---|",
    ]
    for agent, values in sorted(losses.items(), key=lambda item: statistics.mean(item[1])):
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        lines.append(f"| {agent} | {statistics.mean(values):.4f} | {spread:.4f} | {len(values)} |")
    return [*lines, ""]


def pages() -> dict[Path, str]:
    """Return every generated page."""
    from mixgym.envs.registration import ENVIRONMENTS

    result: dict[Path, str] = {}
    for env_id in ENVIRONMENTS:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", env_id.split("/")[1].split("-")[0]).lower()
        result[DOCS / "environments" / f"{name}.md"] = environment_page(env_id)
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
