from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_study import TINY, quiet

from mixgym.compare import compare
from mixgym.compare.study import StudyResult


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """A finished comparison of two agents and two seeds; read only."""
    out = tmp_path_factory.mktemp("study") / "out"
    return compare(
        "NanoPretrain-v0",
        ["natural", "random"],
        out=out,
        seeds=2,
        env_arguments=TINY,
        workers=2,
        console=quiet(),
    )


@pytest.fixture
def study_copy(finished_study: StudyResult, tmp_path: Path) -> Path:
    """A copy of the finished comparison's folder, to be spoilt."""
    return Path(shutil.copytree(finished_study.report.parent, tmp_path / "copy"))
