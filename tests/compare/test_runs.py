from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from small_study import RUN, TINY, quiet, request_of, resign, spoil, stamps, undated

from mixgym.compare import compare, redraw, replay_run
from mixgym.compare.plan import Comparison, Study, read_suite
from mixgym.compare.study import StudyResult, read_study, run_study
from mixgym.compare.validate import prepare
from mixgym.errors import CorpusError, MixgymError
from mixgym.experiment.request import AgentSpec
from mixgym.experiment.run import execute_run
from mixgym.experiment.runfolder import (
    PER_DOMAIN,
    SCALARS,
    MetricsWriter,
    read_metrics,
    read_result,
)
from mixgym.files import DIGEST
from mixgym.lm.settings import PRESETS


def again(out: Path, *agents: str, seeds: int = 2, **arguments: object) -> StudyResult:
    return compare(
        "NanoPretrain-v0",
        agents or ["natural", "random"],
        out=out,
        seeds=seeds,
        env_arguments={**TINY, **arguments},
        workers=1,
        resume=True,
        console=quiet(),
    )


def test_a_comparison_leaves_every_file(finished_study: StudyResult) -> None:
    out = finished_study.report.parent
    assert len(stamps(out)) == 4
    for name in ("summary.csv", "curves.csv", "curves.png", "differences.png", "rivers.png"):
        assert (out / name).stat().st_size > 100
    assert not list(out.rglob("*.partial")) and not list(out.rglob("*.tmp"))
    with (out / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["agent"], r["seed"]) for r in rows] == [
        ("natural", "0"), ("random", "0"), ("natural", "1"), ("random", "1")
    ]  # fmt: skip
    assert len({row["objective_test_loss"] for row in rows}) == 4
    assert {row["train_tokens"] for row in rows} == {str(4 * 16 * 64)}
    assert all(int(row["eval_tokens"]) > 0 and int(row["reward_tokens"]) > 0 for row in rows)


def test_results_carry_what_presets_and_defaults_came_to(finished_study: StudyResult) -> None:
    out = finished_study.report.parent
    env = gym.make("mixgym/NanoPretrain-v0", **TINY)
    inner: Any = env.unwrapped
    for label in ("natural", "random"):
        config = json.loads((out / f"runs/{label}/seed-0/config.json").read_text())
        settings, arguments = config["resolved"]["settings"], config["resolved"]["arguments"]
        assert settings["learning_rate"] == inner.settings.learning_rate
        assert arguments["evaluation_seed"] == 0 and arguments["decisions"] == 2
        assert "action_map" not in arguments and "git" in config
        assert config["resolved"]["model"] == PRESETS["nano"].config
        assert {row.configuration for row in finished_study.summary} == {config["configuration"]}
    env.close()
    assert len(config["configuration"]) == 16


def test_metrics_have_a_row_for_reset_and_for_every_decision(finished_study: StudyResult) -> None:
    out = finished_study.report.parent
    metrics = read_metrics(out / RUN)
    assert metrics.names == ("recipes", "python")
    assert metrics.step.tolist() == [0, 2, 4]
    assert np.allclose(metrics.mixture.sum(axis=1), 1.0)
    actions = np.load(out / RUN / "actions.npy")
    assert actions.shape == (2, 2) and actions.dtype == np.float32


def test_paired_arms_start_from_the_same_model(finished_study: StudyResult) -> None:
    out = finished_study.report.parent
    first = [read_metrics(out / f"runs/{a}/seed-0") for a in ("natural", "random")]
    assert first[0].objective[0] == first[1].objective[0]
    assert first[0].objective[-1] != first[1].objective[-1]


def test_the_report_stands_alone(finished_study: StudyResult) -> None:
    page = finished_study.report.read_text()
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r"""(src|href)\s*=\s*['"](?!data:)|https?://|@import|<script""", page)
    assert "mixgym compare mixgym/NanoPretrain-v0 --agent natural --agent random" in page


def test_a_finished_run_is_not_repeated_and_another_is_refused(study_copy: Path) -> None:
    directory = study_copy / RUN
    before = stamps(study_copy)
    result = execute_run(request_of(directory), directory)
    assert result == read_result(directory)
    assert stamps(study_copy) == before
    for key, value in (("version", "9"), ("corpus_hash", "0"), ("agent", "uniform"), ("seed", 5)):
        with pytest.raises(MixgymError, match=f"{key}: stored .*--out"):
            execute_run(request_of(directory, **{key: value}), directory)


def test_a_changed_preset_is_refused_by_name(study_copy: Path) -> None:
    directory = study_copy / RUN
    resolved = json.loads((directory / "config.json").read_text())["resolved"]
    spoil(directory / "config.json", resolved=changed(resolved, learning_rate=0.5))
    with pytest.raises(
        MixgymError, match=r"settings\.learning_rate \(stored 0\.5, now 0\.00.*--out"
    ):
        execute_run(request_of(directory, resolved=resolved), directory)
    with pytest.raises(MixgymError, match=r"settings\.learning_rate \(stored 0\.5"):
        replay_run(directory)
    spoil(study_copy / "config.json", resolved=changed(resolved, clip=9.0))
    with pytest.raises(MixgymError, match=r"settings\.clip \(stored 9\.0, now 1\.0\)"):
        again(study_copy)


def test_runs_of_before_configurations_were_kept(study_copy: Path) -> None:
    directory = study_copy / RUN
    now = request_of(directory)
    for path in study_copy.rglob("config.json"):
        config = json.loads(path.read_text())
        left_out = ("configuration", "resolved", DIGEST)
        path.write_text(json.dumps({k: v for k, v in config.items() if k not in left_out}))
        undated(path.parent)
    with pytest.raises(MixgymError, match="do not say what their presets and defaults were"):
        execute_run(now, directory)
    assert replay_run(directory).difference is None
    assert len(redraw(study_copy).summary) == 4


def changed(resolved: dict[str, Any], **settings: object) -> dict[str, Any]:
    return {**resolved, "settings": {**resolved["settings"], **settings}}


def test_an_unfinished_run_is_executed_again_with_the_same_numbers(study_copy: Path) -> None:
    directory = study_copy / RUN
    stored = json.loads((directory / "result.json").read_text())
    (directory / "result.json").unlink()
    (directory / ".metrics.csv.partial").write_text("decision,st")
    seen: list[int] = []
    result = execute_run(
        request_of(directory), directory, lambda x: seen.append(x["decision"]), timing_steps=0
    )
    assert result["domain_test_loss"] == stored["domain_test_loss"]
    assert seen == [0, 1, 2] and not (directory / ".metrics.csv.partial").exists()


def test_a_link_in_the_place_of_an_unfinished_table_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "mine.txt"
    other.write_text("mine")
    (tmp_path / ".metrics.csv.partial").symlink_to(other)
    writer = MetricsWriter(tmp_path, ["code"])
    writer.finish()
    assert other.read_text() == "mine" and not (tmp_path / "metrics.csv").is_symlink()


def test_resuming_repeats_nothing_and_adds_what_is_new(study_copy: Path) -> None:
    before = stamps(study_copy)
    (study_copy / RUN / "result.json").unlink()
    result = again(study_copy, "natural", "random", "uniform", seeds=1)
    after = stamps(study_copy)
    assert len(after) == 6 and len(result.summary) == 6
    assert {p for p in before if after[p] != before[p]} == {str(study_copy / RUN)}


def test_resuming_with_other_arguments_names_them(study_copy: Path) -> None:
    with pytest.raises(MixgymError, match="env_arguments"):
        again(study_copy, decisions=1)


def test_a_used_folder_is_refused_without_resume(study_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(MixgymError, match="--resume"):
        compare("NanoPretrain-v0", ["natural"], out=study_copy, console=quiet())
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("x")
    with pytest.raises(MixgymError, match=r"no config\.json"):
        again(tmp_path / "foreign")


@pytest.mark.parametrize(
    ("env", "agent", "message"),
    [
        ("NanoPretrian-v0", "natural", "did you mean 'mixgym/NanoPretrain-v0'"),
        ("NanoPretrain-v0", "naturl", "did you mean 'natural'"),
        ("NanoPretrain-v0", "static:{mixture: recipe}", "agent 'static'.*'recipes'"),
        ("NanoPretrain-v0", "static:{mixtur: natural}", "did you mean 'mixture'"),
        ("NanoPretrain-v0", "temperature:{T: [1]}", r"agent 'temperature'.*T=\[1\] must be"),
    ],
)
def test_bad_input_fails_before_anything_is_written(
    env: str, agent: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises((MixgymError, ValueError), match=message):
        compare(env, [agent], out=tmp_path / "out", env_arguments=TINY, console=quiet())
    assert not (tmp_path / "out").exists()


def test_plots_come_from_the_csv_files_alone(study_copy: Path) -> None:
    whole = redraw(study_copy)
    shutil.rmtree(study_copy / "runs")
    for picture in study_copy.glob("*.png"):
        picture.unlink()
    bare = redraw(study_copy)
    assert bare.curves == whole.curves and len(bare.summary) == 4
    assert (study_copy / "curves.png").exists() and not (study_copy / "rivers.png").exists()


def test_a_diverged_run_in_a_suite_of_one_is_finished_and_says_so(tmp_path: Path) -> None:
    arguments = {**TINY, "decisions": 20, "warmup_steps": 0}
    (tmp_path / "suite.yml").write_text(
        "comparisons:\n"
        "  - {env: NanoPretrain-v0, seeds: 1, agents: [natural], arguments: "
        f"{{learning_rate: 1e6, {json.dumps(arguments)[1:]}}}\n"
    )
    out = tmp_path / "out"
    result = run_study(read_suite(tmp_path / "suite.yml"), out, console=quiet())
    assert result.summary[0].diverged and result.summary[0].steps < 40
    assert "1 diverged" in result.report.read_text()
    directory = out / "runs" / "NanoPretrain-v0" / "natural" / "seed-0"
    assert "inf" not in (directory / "metrics.csv").read_text().partition("\n")[2]
    assert replay_run(directory).difference is None
    assert read_study(out) == result.study and result.study.suite


def test_numbers_that_are_not_finite_are_empty_fields(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, ["a", "b"])
    scalars: dict[str, float] = {name: math.inf for name in SCALARS}
    writer.append(scalars, dict.fromkeys(PER_DOMAIN, np.array([-np.inf, np.nan])))
    writer.append({**scalars, "step": 3.0}, dict.fromkeys(PER_DOMAIN, np.array([0.5, 1e300])))
    writer.finish()
    header, first, second = (tmp_path / "metrics.csv").read_text().splitlines()
    assert first == "," * header.count(",")
    assert second == ",3,,,,,0.5,1e+300,0.5,1e+300,0.5,1e+300"


def test_an_altered_corpus_is_refused_and_its_path_stored_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (tmp_path / "text" / name).mkdir(parents=True)
        words = ["".join(map(chr, rng.integers(97, 123, 6))) for _ in range(20_000)]
        lines = [" ".join(words[i : i + 40]) for i in range(0, len(words), 40)]
        (tmp_path / "text" / name / "all.txt").write_text("\n\n".join(lines))
    tiny = {**TINY, "corpus": "files:text", "domains": None}
    agents = (AgentSpec("uniform", "uniform"),)
    study = Study("s", (Comparison("NanoPretrain-v0", agents, (0,), tiny),))
    prepared = prepare(study).comparisons[0]
    assert prepared.env_arguments["corpus"] == f"files:{tmp_path}/text"
    assert prepared.resolved["arguments"]["corpus"] == f"files:{tmp_path}/text"
    altered = next(p for p in (tmp_path / "cache").rglob("*two*") if p.is_file())
    content = bytearray(altered.read_bytes())
    content[100] ^= 1
    altered.chmod(0o644)
    altered.write_bytes(content)
    with pytest.raises(CorpusError, match=f"{altered.name}.*build"):
        prepare(study)


def test_replay_of_an_untouched_run_is_equal(finished_study: StudyResult) -> None:
    result = replay_run(finished_study.report.parent / RUN)
    assert result.difference is None and result.decisions == 2


def test_replay_finds_an_altered_action(study_copy: Path) -> None:
    actions = np.load(study_copy / RUN / "actions.npy")
    actions[1] = actions[1][::-1]
    np.save(study_copy / RUN / "actions.npy", actions)
    resign(study_copy / RUN)
    difference = replay_run(study_copy / RUN).difference
    assert difference is not None and difference.startswith("decision 2: mixture")


def test_replay_finds_a_missing_action(study_copy: Path) -> None:
    actions = np.load(study_copy / RUN / "actions.npy")
    np.save(study_copy / RUN / "actions.npy", actions[:1])
    resign(study_copy / RUN)
    assert "3 rows for 1 actions" in (replay_run(study_copy / RUN).difference or "")


@pytest.mark.parametrize("key", ["objective_test_loss", "worst_domain_test_loss", "steps"])
def test_replay_finds_an_altered_result(study_copy: Path, key: str) -> None:
    path = study_copy / RUN / "result.json"
    value = read_result(path.parent)[key]
    spoil(path, **{key: float(np.nextafter(value, 0.0)) if key != "steps" else 5})
    assert key in (replay_run(study_copy / RUN).difference or "")


def test_replay_refuses_another_corpus(study_copy: Path) -> None:
    path = study_copy / RUN / "config.json"
    spoil(path, corpus_hash="0" * 64)
    with pytest.raises(MixgymError, match="corpus"):
        replay_run(study_copy / RUN)
