"""report.html: one self-contained page that says what was run, how, and what came out."""

from __future__ import annotations

import base64
import html
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from mixgym.compare.plan import Comparison, Study
from mixgym.compare.reported import ReportedRow, reported_html
from mixgym.compare.summary import SummaryRow
from mixgym.compare.table import arms, html_table
from mixgym.experiment.provenance import git_revision, library_versions
from mixgym.experiment.request import AgentSpec
from mixgym.files import write_text

REPORT = "report.html"

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #57606a; --line: #d0d7de;
  --back: #ffffff; --panel: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4af; --line: #30363d;
  --back: #0d1117; --panel: #161b22; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 72rem; background: var(--back);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
p, li { max-width: 46rem; } .soft, .caption { color: var(--soft); } .caption { font-size: .875rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .4rem .75rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
td small { display: block; color: var(--soft); } tr.reference td { background: var(--panel); }
figure { margin: 1.25rem 0; } figcaption { color: var(--soft); font-size: .875rem; }
img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .8rem;
  overflow-x: auto; font-size: .85rem; } details { margin: .75rem 0; }
.smoke { border-left: 4px solid #bf8700; padding: .4rem .9rem; background: var(--panel); }
"""

_READING = """
<ul>
<li><b>bits/byte</b> and <b>perplexity</b> (per byte) are of the final model on the test split,
which no agent and no reward ever reads, averaged with the objective's weights (lower
is better). The worst domain's are beside them.</li>
<li><b>vs reference</b> is the arm minus the reference, in bits/byte, seed by seed. Arms of a
seed share initial weights, data order and evaluation windows, so the differences are much sharper
than the means. An interval that does not contain zero is evidence of a difference; with many arms,
some will exclude zero by chance.</li>
<li><b>fewer steps</b> compares when an arm's validation objective first came down to the
reference's final one of the same seed with when the reference's own did: +20&nbsp;% is a fifth
fewer steps. Under it are the mean steps themselves, the arm's and the reference's. Seeds that
never got there are left out of the mean.</li>
<li>Losses of diverged runs measure nothing: they are left out, and <i>n of N seeds</i> says over
how many a mean is.</li>
<li><b>overhead</b> is the time of an LM step inside the environment, reward and evaluation apart,
over that of a plain training loop with the same model, batches and threads, timed right before and
after the episode under the same load.</li>
<li><b>LM tokens</b> counts training, rewards, evaluation, proxies and the agent's learning.</li>
<li>Below 10 seeds intervals are Student's t, from 10 a percentile bootstrap. Fewer than 5 seeds are
a smoke test: they show that things work, not which arm is better.</li>
</ul>
"""


def write_report(
    study: Study,
    out: Path,
    summary: Sequence[SummaryRow],
    figures: Mapping[str, Sequence[tuple[Path, str]]],
    reported: Sequence[ReportedRow] = (),
) -> Path:
    """Write OUT/report.html from rows and drawn figures; nothing in it is loaded from elsewhere."""
    page_title = html.escape(study.name or "mixgym comparison")
    sections = "".join(
        _section(comparison, summary, figures.get(comparison.name, ()), reported)
        for comparison in study.comparisons
    )
    versions = {**library_versions(), "mixgym (runs)": study.version}
    revision = git_revision()
    if revision:
        versions["git"] = revision
    config = json.dumps(study.to_json(), indent=2)
    done, planned = len(summary), len(study.requests())
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{page_title}</title><style>{_STYLE}</style></head><body>
<h1>{page_title}</h1>
<p class="soft">{done} of {planned} runs finished, mixgym {html.escape(study.version)}.</p>
{sections}
<h2>How to read this</h2>{_READING}
<h2>Do it again</h2>
<pre>{html.escape(command(study))}</pre>
<p>One run, bit for bit, from its seed and actions:
<code>mixgym replay {html.escape(_first_run(study))}</code></p>
<h2>Every run</h2>{_runs(summary)}
<h2>Configuration and versions</h2>
<details><summary>config.json</summary><pre>{html.escape(config)}</pre></details>
<details open><summary>versions</summary><pre>{html.escape(_lines(versions))}</pre></details>
</body></html>
"""
    path = out / REPORT
    write_text(path, page)
    return path


def _section(
    comparison: Comparison,
    summary: Sequence[SummaryRow],
    figures: Sequence[tuple[Path, str]],
    reported: Sequence[ReportedRow],
) -> str:
    table = arms(comparison, summary)
    pictures = "".join(
        f"<figure><img alt='{html.escape(text)}' src='data:image/png;base64,"
        f"{base64.b64encode(path.read_bytes()).decode()}'>"
        f"<figcaption>{html.escape(text)}</figcaption></figure>"
        for path, text in figures
    )
    arguments = (
        f" with <code>{html.escape(json.dumps(comparison.env_arguments))}</code>"
        if comparison.env_arguments
        else ""
    )
    return (
        f"<h2>{html.escape(comparison.name)}</h2>"
        f"<p><code>{html.escape(comparison.env)}</code>{arguments}, {len(comparison.labels)} "
        f"agents, seeds {html.escape(', '.join(map(str, comparison.seeds)))}; corpus "
        f"<code>{html.escape(comparison.corpus_hash[:12])}</code>.</p>"
        + (html_table(comparison, table) if table else "<p>No run has finished.</p>")
        + reported_html(comparison, reported)
        + pictures
    )


def _runs(summary: Sequence[SummaryRow]) -> str:
    headings = (
        "run", "seed", "test bits/byte", "worst domain", "steps to target", "LM steps",
        "LM tokens", "seconds", "ms/step", "bare ms/step", "state",
    )  # fmt: skip
    head = "".join(f"<th scope='col'>{heading}</th>" for heading in headings)
    body = []
    for row in summary:
        values = (
            f"{row.comparison} / {row.agent}",
            str(row.seed),
            _figure(row.bits_per_byte, ".4f"),
            f"{row.worst_domain} {_figure(row.worst_bits_per_byte, '.3f')}",
            _figure(row.steps_to_target, ".0f", "never"),
            str(row.steps),
            f"{row.lm_tokens:,}",
            _figure(row.seconds, ".1f"),
            _figure(row.ms_per_step, ".1f"),
            _figure(row.bare_ms_per_step, ".1f"),
            "diverged" if row.diverged else "finished",
        )
        body.append("<tr>" + "".join(f"<td>{html.escape(x)}</td>" for x in values) + "</tr>")
    return (
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _figure(value: float, form: str, missing: str = "n/a") -> str:
    return f"{value:{form}}" if math.isfinite(value) else missing


def _lines(values: Mapping[str, str]) -> str:
    width = max(len(name) for name in values)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in values.items())


def _first_run(study: Study) -> str:
    comparison = study.comparisons[0]
    directory = study.run_directory(comparison, comparison.labels[0], comparison.seeds[0])
    return f"OUT/{directory.as_posix()}"


def command(study: Study) -> str:
    """The command line that repeats a study into a new folder.

    A single comparison with consecutive seeds is spelt out; anything else is read back from its
    config.json, which is a suite.
    """
    comparison = study.comparisons[0]
    seeds = comparison.seeds
    if not study.single or list(seeds) != list(range(seeds[0], seeds[0] + len(seeds))):
        return "mixgym compare --suite config.json --out NEW"
    parts = ["mixgym", "compare", comparison.env]
    for agent in comparison.agents:
        parts += ["--agent", agent_text(agent)]
    for key, value in comparison.env_arguments.items():
        parts += ["--env-arg", f"{key}={_flow(value)}"]
    parts += ["--seeds", str(len(seeds))]
    if seeds[0]:
        parts += ["--first-seed", str(seeds[0])]
    parts += ["--reference", comparison.reference, "--out", "NEW"]
    return " ".join(shlex.quote(part) for part in parts)


def agent_text(agent: AgentSpec) -> str:
    """An agent as `--agent` reads it; the inverse of `mixgym.experiment.request.parse_agent`."""
    text = agent.agent if agent.label == agent.agent else f"{agent.label}={agent.agent}"
    return f"{text}:{_flow(agent.arguments)}" if agent.arguments else text


def _flow(value: object) -> str:
    # JSON is YAML, and json.dumps puts the space after each colon that YAML wants.
    return json.dumps(value, ensure_ascii=False)
