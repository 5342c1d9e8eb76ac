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
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from mixgym.compare.probing import ProbeRow

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
        "reward": "float: reward of the decision; 0 at reset",
        "reward_terms": "dict of float: every reward term before weighting",
        "reward_vectors": "dict of (K,) float64: the values a domain behind terms that have them",
        "step": "int: LM optimiser steps done",
        "decision": "int: decisions done",
        "diverged": "bool",
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


PRESETS = """# How the presets were chosen

Every candidate trained on `core19`'s uniform mixture for the same seconds of one core's processor
time, evaluation not counted, and was evaluated on the way (64 validation windows a domain, mean
over the nineteen domains). Lower is better; compare within a column. Models differ in how much
text a window shows them, which is part of the comparison; losses are per byte, so tokenizers
compare too. `benchmarks/presets.yml` has the candidates.

    {command}

"""

PRESETS_END = """
The machine was doing other work meanwhile, so milliseconds are about twice those of an idle core,
for every candidate alike.

What was chosen, and why:

- **micro** is d64-L2-c64-b32, the best of all at the end. On one CPU core a minute buys a few 1e12
  operations, for which about 0.1 M parameters are the right size; the 0.86 M-parameter model is far
  behind at every column, which is why `micro` is smaller than the "about 1 M" of the first plan.
  Short windows win: this budget does not reach the loss where long contexts pay. Its learning rate
  is 0.003 rather than 0.008, which gives up a little speed for less noise between seeds.
- **nano** is d32-L2 with a context of 64, the width that leads in the first seconds, where nano's
  episodes end.
- **Bytes** stay the default: there is no tokenizer to choose and a loss means the same everywhere;
  `tokenizer="bpe-1024"` is one argument away.
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


RESULTS_HEAD = """# Results

Made from the committed `summary.csv` of each suite; each suite's folder in `benchmarks/results` has
the exact command, the curves and the raw numbers. Losses are nats per byte on the test split, which
no agent and no reward reads. Intervals are 95 % over seeds by Student's t (n below 10); differences
are paired by seed.
"""


def results_page() -> str:
    """Return a table for every suite and environment under benchmarks/results."""
    lines = [RESULTS_HEAD]
    for path in sorted(RESULTS.glob("*/summary.csv")):
        with path.open() as file:
            rows = list(csv.DictReader(file))
        suite = yaml.safe_load(
            (DOCS.parent / f"benchmarks/suites/{path.parent.name}.yml").read_text()
        )
        for comparison in suite["comparisons"]:
            reference = comparison["reference"]
            own = [row for row in rows if row["env"] == comparison["env"]]
            lines += [f"## {path.parent.name}: {comparison['env']}", ""]
            lines += results_table(own, reference)
            lines.append("")
            lines += reported_lines(path.with_name("reported.csv"), comparison["env"], reference)
            lines += probe_table(path.with_name("probes.csv"), comparison["env"], reference)
    return "\n".join(lines).rstrip() + "\n"


def reported_lines(path: Path, env_id: str, reference: str) -> list[str]:
    """Return a Markdown table of what an environment reports beyond losses; empty without it."""
    from mixgym.compare.reported import quantities, read_reported, reported_cells

    name = env_id.rpartition("/")[2]
    rows = [row for row in read_reported(path) if row.comparison == name] if path.exists() else []
    names = quantities(rows)
    if not names:
        return []
    lines = [
        f"What the environment reports beside losses, and its paired difference to {reference}'s "
        "([what each is](environments.md)).",
        "",
        "| agent | " + " | ".join(f"{name} | minus {reference}" for name in names) + " |",
        "|---" * (1 + 2 * len(names)) + "|",
    ]
    for agent in dict.fromkeys(row.agent for row in rows):
        cells = (reported_cells(rows, agent, reference, name) for name in names)
        texts = (f"{mean} | {difference.replace('+', '')}" for mean, difference in cells)
        lines.append(f"| {agent} | {' | '.join(texts)} |")
    return [*lines, ""]


def probe_table(path: Path, env_id: str, reference: str) -> list[str]:
    """Return a Markdown table of what `mixgym probe` wrote of one environment; empty without it."""
    from mixgym.compare.probing import differences, read_probe_rows

    name = env_id.rpartition("/")[2]
    rows = [row for row in read_probe_rows(path) if row.comparison == name] if path.exists() else []
    if not rows:
        return []
    probes = list(dict.fromkeys(row.probe for row in rows))
    bits: dict[str, list[float]] = {}
    for row in rows:
        if row.probe == probes[0]:
            bits.setdefault(row.agent, []).append(row.bits_per_byte)
    errors = ", ".join(
        f"{probe} {max(row.bits_per_byte_error for row in rows if row.probe == probe):.3f}"
        for probe in probes
    )
    lines = [
        "Bits a byte of the right answers of report items (`mixgym probe`), and the paired "
        f"difference to {reference}'s. Standard errors over items: {errors}.",
        "",
        "| agent | seeds | " + " | ".join(f"{p} | minus {reference}" for p in probes) + " |",
        "|---" * (2 + 2 * len(probes)) + "|",
    ]
    for agent in sorted(bits, key=lambda agent: statistics.mean(bits[agent])):
        cells = []
        for probe in probes:
            own = [r.bits_per_byte for r in rows if r.agent == agent and r.probe == probe]
            cells.append(f"{statistics.mean(own):.4f}")
            cells.append(differences(rows, agent, reference, probe).replace("+", ""))
        lines.append(f"| {agent} | {len(bits[agent])} | " + " | ".join(cells) + " |")
    return [*lines, *accuracies(rows), ""]


def accuracies(rows: Sequence[ProbeRow]) -> list[str]:
    """Return a line on the accuracies of probes with choices: the arms', beside chance."""
    lines = []
    for probe in dict.fromkeys(row.probe for row in rows):
        own = [row for row in rows if row.probe == probe and row.accuracy == row.accuracy]
        if own:
            arms = {row.agent for row in own}
            means = [statistics.mean(r.accuracy for r in own if r.agent == arm) for arm in arms]
            lines += [
                "",
                f"Accuracy on {probe}: {min(means):.1%} to {max(means):.1%} over the arms, chance "
                f"{own[0].chance:.1%}, standard error over items {own[0].accuracy_error:.1%}.",
            ]
    return lines


def results_table(rows: list[dict[str, str]], reference: str) -> list[str]:
    """Return a Markdown table of one environment's arms, best first."""
    from mixgym.compare.statistics import mean_interval

    def column(agent: str, name: str) -> dict[str, float]:
        return {
            row["seed"]: float(row[name]) if row[name] else float("nan")
            for row in rows
            if row["agent"] == agent
        }

    def shown(values: list[float], digits: int = 4) -> str:
        interval = mean_interval(values)
        return f"{interval.mean:.{digits}f} ± {interval.high - interval.mean:.{digits}f}"

    names = {row["agent"] for row in rows}
    rivals = [reference, *({"uniform"} & names - {reference})]
    lines = [
        "| agent | test loss | bits/byte | worst domain | "
        + "".join(f"minus {rival} | " for rival in rivals)
        + f"LM steps to {reference}'s final loss | LM tokens: run, rewards, evaluation "
        "| proxies and learning |",
        "|---" * (7 + len(rivals)) + "|",
    ]
    total = {row["seed"]: int(row["steps"]) for row in rows if row["agent"] == reference}

    def tokens(agent: str, *accounts: str) -> str:
        spent = [sum(int(r[a] or 0) for a in accounts) for r in rows if r["agent"] == agent]
        return f"{statistics.mean(spent) / 1e6:.2f} M"

    for agent in sorted(
        names, key=lambda agent: statistics.mean(column(agent, "objective_test_loss").values())
    ):
        loss = column(agent, "objective_test_loss")
        steps = column(agent, "steps_to_target")
        reached = [steps[seed] for seed in steps if steps[seed] == steps[seed]]
        mean_steps = f"{statistics.mean(reached):.0f}" if reached else "-"
        bits = statistics.mean(column(agent, "bits_per_byte").values())
        worst = statistics.mean(column(agent, "worst_domain_test_loss").values())
        differences = []
        for rival in rivals:
            base = column(rival, "objective_test_loss")
            paired = [loss[seed] - base[seed] for seed in loss]
            differences.append("-" if agent == rival else shown(paired))
        lines.append(
            f"| {agent} | {shown(list(loss.values()))} | {bits:.3f} | {worst:.4f} | "
            + "".join(f"{difference} | " for difference in differences)
            + f"{mean_steps} of {next(iter(total.values()))}, {len(reached)} of {len(steps)} seeds "
            f"| {tokens(agent, 'train_tokens', 'eval_tokens')} "
            f"| {tokens(agent, 'proxy_tokens', 'agent_tokens')} |"
        )
    return lines


def pages() -> dict[Path, str]:
    """Return every generated page."""
    from mixgym.envs.registration import ENVIRONMENTS

    result: dict[Path, str] = {}
    for env_id in ENVIRONMENTS:
        name = env_id.split("/")[1].replace("mo-", "Mo").split("-")[0]
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
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
