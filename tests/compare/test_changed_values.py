"""No number of a run that was changed after it was finished is loaded, plotted or resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_study import RUN, TINY, quiet, request_of, undated

import mixgym
from mixgym.compare import compare, redraw, replay_run
from mixgym.compare.summary import SummaryRow, read_rows, write_rows
from mixgym.errors import DamagedFileError
from mixgym.experiment.run import execute_run
from mixgym.files import DIGEST


def change_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def change_metrics(directory: Path) -> None:
    path = directory / "metrics.csv"
    path.write_text(path.read_text().replace("0.", "1.", 1))


def change_actions(directory: Path) -> None:
    actions = np.load(directory / "actions.npy")
    np.save(directory / "actions.npy", actions[:, ::-1])


CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "result": (
        "result.json",
        lambda d: change_json(d / "result.json", lambda x: x.update(objective_test_loss=0.1)),
    ),
    "config": (
        "config.json",
        lambda d: change_json(d / "config.json", lambda x: x["env_arguments"].update(decisions=3)),
    ),
    "config-without-digest": (
        "config.json",
        lambda d: change_json(
            d / "config.json", lambda x: (x.pop(DIGEST), x["versions"].update(numpy="0"))
        ),
    ),
    "metrics": ("metrics.csv", change_metrics),
    "actions": ("actions.npy", change_actions),
    "cut-metrics": (
        "metrics.csv",
        lambda d: (d / "metrics.csv").write_text((d / "metrics.csv").read_text()[:200]),
    ),
    "empty-actions": ("actions.npy", lambda d: (d / "actions.npy").write_bytes(b"")),
    "no-metrics": ("metrics.csv", lambda d: (d / "metrics.csv").unlink()),
    "result-of-other-kind": ("result.json", lambda d: (d / "result.json").write_text("[1]")),
    "nested-result": (
        "result.json",
        lambda d: (d / "result.json").write_text("[" * 9999 + "]" * 9999),
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_run_is_an_error_that_names_the_file(case: str, study_copy: Path) -> None:
    name, change = CHANGES[case]
    request = request_of(study_copy / RUN)
    change(study_copy / RUN)
    uses: list[Callable[[], object]] = [
        lambda: redraw(study_copy),
        lambda: execute_run(request, study_copy / RUN),
        lambda: replay_run(study_copy / RUN),
    ]
    for use in uses:
        with pytest.raises(DamagedFileError, match=f"{RUN}/{name}.*: (restore|delete)"):
            use()


def test_changed_seeds_of_a_study_are_an_error(study_copy: Path) -> None:
    change_json(study_copy / "config.json", lambda x: x.update(seeds=[0]))
    with pytest.raises(DamagedFileError, match=r"config\.json was changed"):
        redraw(study_copy)
    with pytest.raises(DamagedFileError, match=r"config\.json was changed"):
        compare("NanoPretrain-v0", ["natural", "random"], out=study_copy, seeds=2,
                env_arguments=TINY, resume=True, console=quiet())  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x93NUMPY", "no array of actions"),
        (b"not an array", "no array of actions"),
    ],
)
def test_replay_says_what_is_wrong_with_stored_actions(
    content: bytes, message: str, study_copy: Path
) -> None:
    """Of a version without digests, so that the file itself must tell."""
    undated(study_copy / RUN)
    path = study_copy / RUN / "actions.npy"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=rf"actions\.npy.*{message}"):
        replay_run(study_copy / RUN)
    for array in (np.zeros(3, np.float32), np.zeros((2, 2)), np.full((2, 2), np.nan, np.float32)):
        np.save(path, array)
        with pytest.raises(DamagedFileError, match=r"actions\.npy"):
            replay_run(study_copy / RUN)


def test_runs_without_digests_still_read(study_copy: Path) -> None:
    for path in study_copy.rglob("config.json"):
        change_json(path, lambda x: x.pop(DIGEST))
    for path in study_copy.glob("runs/*/*"):
        undated(path)
    assert len(redraw(study_copy).summary) == 4
    assert replay_run(study_copy / RUN).difference is None
    request = request_of(study_copy / RUN)
    assert execute_run(request, study_copy / RUN)["seed"] == 0


def test_git_that_was_not_to_be_had_is_no_mismatch(
    study_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mixgym.experiment import provenance

    def absent(*_: object) -> str:
        raise FileNotFoundError("git")

    provenance._revision.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "_git", absent)
        (study_copy / RUN / "result.json").unlink()
        execute_run(request_of(study_copy / RUN), study_copy / RUN, timing_steps=0)
        assert json.loads((study_copy / RUN / "config.json").read_text())["git"] is None
        patch.setattr(provenance, "_git", lambda _, what, *__: "" if what == "status" else "f")
        found = provenance.git_revision()  # asked again, not remembered as missing
        assert found == ("f" if (Path(mixgym.__file__).parents[1] / ".git").exists() else None)
    provenance._revision.cache_clear()
    result = compare("NanoPretrain-v0", ["natural", "random"], out=study_copy, seeds=2,
                     env_arguments=TINY, resume=True, console=quiet())  # fmt: skip
    assert len(result.summary) == 4


def test_names_that_a_spreadsheet_would_run_are_written_as_text(tmp_path: Path) -> None:
    row = {name: 0 for name in SummaryRow.__annotations__}
    texts = {"env": "e", "agent": "a", "corpus_hash": "-1", "configuration": "", "version": "+2"}
    row |= {**texts, "comparison": "c", "worst_domain": "=HYPERLINK(1)", "diverged": False}
    rows = [SummaryRow(**{**row, "objective_test_loss": -0.5})]
    write_rows(tmp_path / "summary.csv", rows, SummaryRow)
    fields = (tmp_path / "summary.csv").read_text().splitlines()[1].split(",")
    assert "'=HYPERLINK(1)" in fields and "'+2" in fields and "-0.5" in fields
    assert not any(field.startswith(("=", "+", "@")) for field in fields)
    assert read_rows(tmp_path / "summary.csv", SummaryRow) == rows
