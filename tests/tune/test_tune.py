"""`mixgym tune`: searched on validation alone, paired, pruned, exact to resume."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("optuna")
pytest.importorskip("stable_baselines3")

import mixgym.tune.study as study_module
from mixgym.commands.main import app
from mixgym.errors import DamagedFileError, MissingExtraError, MixgymError, UnknownNameError
from mixgym.experiment.request import AgentSpec
from mixgym.files import read_json
from mixgym.tune import FIRST_SEED, TuningRequest, search_space, tune_agent
from mixgym.tune.space import split_arguments
from mixgym.tune.trial import judge, run_trial, spent, trial_folder
from tests import tiny
from tests.tiny import ENV

TINY: dict[str, Any] = {**tiny.TINY, "decisions": 2, "steps_per_decision": 1}
FIXED: dict[str, Any] = {
    "network": "mlp",
    "width": 8,
    "interaction": "attention",
    "gradient_steps": 1,
    "batch_size": 4,
    "warmup": 1,
    "warmup_noise": 0.5,
    "log_std_init": -1.0,
    "normalise_rewards": "none",
}


def request(**further: Any) -> TuningRequest:
    given = {"episodes": 2, "seeds": 1, "env_arguments": TINY, **further}
    return TuningRequest(AgentSpec("sac", "sac", FIXED), ENV, **given)


def pretend(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace trials by a function of the hyperparameters; returns what was tried."""
    tried: list[dict[str, Any]] = []

    def run(agent: AgentSpec, *_: Any, report: Any, **__: Any) -> float:
        tried.append(agent.arguments)
        value = (math.log10(agent.arguments["learning_rate"]) + 3) ** 2 + agent.arguments["tau"]
        for stage in range(1, 4):
            report(stage, value + 1.0 / stage)
        return value

    monkeypatch.setattr(study_module, "run_trial", run)
    return tried


def test_the_search_finds_good_values_and_prunes(tmp_path, monkeypatch):
    tried = pretend(monkeypatch)
    result = tune_agent(request(), tmp_path / "out", 25)
    assert len(tried) == result.trials == 25 and result.pruned > 3
    # the declared defaults come first; arguments that are given are in every trial
    assert tried[0]["learning_rate"] == 1e-3 and tried[0]["tau"] == 0.02
    assert all(FIXED.items() <= arguments.items() for arguments in tried)
    values = [(math.log10(x["learning_rate"]) + 3) ** 2 + x["tau"] for x in tried]
    assert result.objective == min(values) <= values[0]
    assert result.parameters.keys() == {"learning_rate", "gamma", "tau"}


def test_a_study_killed_in_a_trial_goes_on_to_the_same_end(tmp_path, monkeypatch):
    tried = pretend(monkeypatch)
    whole = tune_agent(request(), tmp_path / "whole", 9)
    expected = list(tried)

    class Killed(BaseException):
        pass

    for after in (0, 3, 7):
        out, calls = tmp_path / f"killed-{after}", []
        tried.clear()
        real = study_module.run_trial

        def dying(
            *arguments: Any, _real: Any = real, _calls: Any = calls, _after: int = after, **k
        ):
            _calls.append(1)
            if len(_calls) == _after + 1:
                raise Killed
            return _real(*arguments, **k)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(study_module, "run_trial", dying)
            tune_agent(request(), out, 9)
        result = tune_agent(request(), out, 9, resume=True)
        assert tried == expected
        assert result.parameters == whole.parameters and result.trials == 9
    assert tune_agent(request(), out, 9, resume=True).trials == 9  # nothing left to do


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real trials of two episodes."""
    out = tmp_path_factory.mktemp("tuned") / "out"
    tune_agent(request(), out, 2)
    return out


def test_real_trials_are_booked_and_written_as_hyperparameters(tuned):
    table = yaml.safe_load((tuned / "best.yml").read_text())
    entry = table[ENV]
    search = entry.pop("search")
    folders = list(tuned.glob("trial-*"))
    assert len(folders) == 2 and search["trials"] == 2 and search["pruned"] == 0
    tokens = 0
    for folder in folders:
        cost = json.loads((folder / "cost.json").read_text())
        judged = read_json(folder / "judged.json")
        assert cost["episodes"] == 2 and list(judged) == [str(FIRST_SEED + 1)]
        tokens += cost["tokens"] + judged[str(FIRST_SEED + 1)]["tokens"]
        assert spent(folder) == cost["tokens"] + judged[str(FIRST_SEED + 1)]["tokens"]
    assert search["tokens"] == tokens > 0
    best = min(
        json.loads((folder / "judged.json").read_text())[str(FIRST_SEED + 1)]["objective"]
        for folder in folders
    )
    assert search["validation_objective"] == best
    from mixgym_agents.sb3.sac import Sac

    assert all(set(value) == {"value", "source"} for value in entry.values())
    Sac(**{name: value["value"] for name, value in entry.items()})


def test_the_best_values_are_a_hyperparameter_file(tmp_path, monkeypatch):
    """Arguments that are no hyperparameters stand in the heading; what was given says so."""
    pretend(monkeypatch)
    fixed = {**FIXED, "reward": {"progress": 2.0}, "observation": "minimal"}
    given = TuningRequest(AgentSpec("sac", "sac", fixed), ENV, TINY, episodes=2, seeds=1)
    text = tune_agent(given, tmp_path / "out", 1).best.read_text()
    entry = yaml.safe_load(text)[ENV]
    entry.pop("search")
    sources = {name: value["source"] for name, value in entry.items()}
    assert {name for name, source in sources.items() if source == "given"} == FIXED.keys()
    assert all("mixgym tune" in sources[name] for name in ("learning_rate", "gamma", "tau"))
    from mixgym_agents.sb3.config import SacConfig

    config = SacConfig().updated({name: value["value"] for name, value in entry.items()})
    assert config.width == 8
    heading = [line for line in text.splitlines() if line.startswith("#")]
    assert '{"reward": {"progress": 2.0}, "observation": "minimal"}' in heading[-1]
    assert split_arguments("natural", {"x": 1}) == ({"x": 1}, {})


def test_trials_share_seeds_and_no_seed_is_a_comparisons(tuned):
    seeds = [
        [run["seed"] for run in json.loads((folder / "cost.json").read_text())["runs"]]
        for folder in tuned.glob("trial-*")
    ]
    assert seeds[0] == seeds[1] and min(seeds[0]) >= FIRST_SEED
    other = request(seed=1)
    assert other.training_seed == FIRST_SEED + 1000 and other.judged_seeds == (FIRST_SEED + 1001,)


def test_a_finished_trial_is_not_run_again(tuned, monkeypatch):
    folder = next(tuned.glob("trial-*"))
    arguments = json.loads((folder / "config.json").read_text())["arguments"]
    monkeypatch.setattr("mixgym.envs.pretrain.PretrainEnv.step", None)
    stages: list[int] = []
    value = run_trial(
        AgentSpec("sac", "sac", arguments),
        ENV,
        TINY,
        folder,
        episodes=2,
        training_seed=FIRST_SEED,
        seeds=(FIRST_SEED + 1,),
        report=lambda stage, _: stages.append(stage),
    )
    assert stages == [1, 2] and value > 0


def test_an_episode_with_a_diverged_run_is_reported_as_infinite(tmp_path, monkeypatch):
    """The second episode's run, the fourth to be reset, diverges; its budget makes another."""
    from mixgym.envs.episode import Episode

    real, runs = Episode.measure, []

    def measure(self: Any, run: Any, signals: Any) -> Any:
        found = real(self, run, signals)
        if signals.decision == 0:
            runs.append(run.seed)
        return replace(found, diverged=signals.decision > 0 and len(runs) == 4)

    monkeypatch.setattr(Episode, "measure", measure)
    reported: list[float] = []
    arguments = {**FIXED, "learning_rate": 1e-3}
    run_trial(
        AgentSpec("sac", "sac", arguments),
        ENV,
        TINY,
        tmp_path / "trial",
        episodes=3,
        training_seed=FIRST_SEED,
        seeds=(FIRST_SEED + 1,),
        report=lambda _, objective: reported.append(objective),
    )
    records = json.loads((tmp_path / "trial" / "cost.json").read_text())["runs"]
    assert [record["episode"] for record in records] == [1, 2, 2, 3]
    assert [record["diverged"] for record in records] == [False, True, False, False]
    losses = [record["objective_loss"] for record in records]
    assert reported == [losses[0], math.inf, losses[3]]


def test_judgement_reads_validation_only(monkeypatch):
    """The objective is the validation report's; test windows are never asked for."""
    from mixgym.lm.training import TrainingRun

    real, splits = TrainingRun.evaluate, []

    def watched(self: Any, split: str = "validation", **arguments: Any) -> Any:
        splits.append(split)
        return real(self, split, **arguments)

    monkeypatch.setattr(TrainingRun, "evaluate", watched)
    result = judge(AgentSpec("natural", "natural"), ENV, TINY, 10_001)
    assert set(splits) == {"validation"} and 0 < result.objective < 10 and result.tokens > 0


def test_online_mode_learns_within_the_judged_runs(tmp_path):
    result = tune_agent(request(episodes=0, seeds=2), tmp_path / "out", 1)
    judged = read_json(next((tmp_path / "out").glob("trial-*/judged.json")))
    assert list(judged) == [str(FIRST_SEED + 1), str(FIRST_SEED + 2)]
    objectives = [entry["objective"] for entry in judged.values()]
    assert result.objective == pytest.approx(sum(objectives) / 2)


def test_bad_requests_are_refused(tuned, tmp_path, monkeypatch):
    with pytest.raises(MixgymError, match="not empty"):
        tune_agent(request(), tuned, 3)
    with pytest.raises(MixgymError, match=r"another study.*episodes \(stored 2, now 3\)"):
        tune_agent(request(episodes=3), tuned, 3, resume=True)
    with pytest.raises(MixgymError, match="trials is 0"):
        tune_agent(request(), tmp_path / "a", 0)
    with pytest.raises(MixgymError, match="declares no search space"):
        search_space("natural")
    with pytest.raises(UnknownNameError, match="did you mean 'sac'"):
        search_space("sacc")
    everything = {name: 1 for name in search_space("sac")}
    with pytest.raises(MixgymError, match="nothing is left to search"):
        TuningRequest(AgentSpec("sac", "sac", everything), ENV).space()
    with pytest.raises(MixgymError, match="saved policy"):
        TuningRequest(AgentSpec("sac", "sac", {"policy": "x"}), ENV)
    with pytest.raises(MixgymError, match="seeds is 0"):
        request(seeds=0)
    assert trial_folder({"a": 1, "b": 2}) == trial_folder({"b": 2, "a": 1}) != trial_folder({})
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"mixgym\[tune\]"):
        tune_agent(request(), tmp_path / "b", 1)


def test_the_command(tmp_path, monkeypatch):
    pretend(monkeypatch)
    out = tmp_path / "out"
    command = ["tune", "sac", "--env", "NanoPretrain-v0", "--out", str(out)]
    result = CliRunner().invoke(app, [*command, "--trials", "2"])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, [*command, "--trials", "3", "--resume"])
    assert result.exit_code == 0, result.output
    assert "best of 3 trials" in result.output and (out / "best.yml").exists()


def test_a_torn_last_line_of_the_journal_is_dropped(tmp_path, monkeypatch):
    """As a killed process or a full disk leaves it; the study goes on to the same end."""
    pretend(monkeypatch)
    out = tmp_path / "out"
    whole = tune_agent(request(), tmp_path / "whole", 6)
    tune_agent(request(), out, 4)
    journal = out / "study.log"
    content = journal.read_bytes()
    for torn in (b'{"op_code": 5, "trial', b"\x00\x00\x00", b'{"op_code": 5, "trial\n'):
        journal.write_bytes(content + torn)
        assert tune_agent(request(), out, 4, resume=True).trials == 4
        now = journal.read_bytes()
        assert now.startswith(content) and torn not in now and now.endswith(b"\n")
    assert tune_agent(request(), out, 6, resume=True).parameters == whole.parameters


def test_a_damaged_line_of_the_journal_is_named(tmp_path, monkeypatch):
    pretend(monkeypatch)
    tune_agent(request(), tmp_path / "out", 2)
    journal = tmp_path / "out" / "study.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b"{" + lines[1], *lines[2:]]))
    with pytest.raises(
        DamagedFileError, match=r"study\.log, line 2 is not valid JSON.*another --out"
    ):
        tune_agent(request(), tmp_path / "out", 2, resume=True)


def test_changed_costs_and_judgements_are_errors(tuned, tmp_path):
    folder = shutil.copytree(next(tuned.glob("trial-*")), tmp_path / "trial")
    for name, edit in (
        ("judged.json", lambda x: x[str(FIRST_SEED + 1)].update(objective=0.1)),
        ("cost.json", lambda x: x.update(tokens=1)),
    ):
        path = folder / name
        value = json.loads(path.read_text())
        edit(value)
        path.write_text(json.dumps(value))
        with pytest.raises(DamagedFileError, match=rf"{name} was changed"):
            spent(folder)
        path.unlink()
    assert spent(folder) == 0


def test_a_study_takes_a_path_as_text(tmp_path, monkeypatch):
    pretend(monkeypatch)
    assert tune_agent(request(), str(tmp_path / "out"), 1).best == tmp_path / "out" / "best.yml"
