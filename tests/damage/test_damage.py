"""Damage to any file is refused by its name, with what to do about it, or does no harm.

Every kind of file that mixgym writes or reads (`kinds`) is damaged in every way that fits it
(`corruptions`) and read by whoever reads it. Each case must raise a `MixgymError` that names the
file and the remedy, or come to the very result of the undamaged file, say because the file was made
again. None is passed over in silence, and none is another exception.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mixgym.errors import MixgymError
from tests.damage.corruptions import FOLDER, FORMATS
from tests.damage.kinds import KINDS, Kind, Reader

#: Cases that the default run takes of a slow reader and of a quick one, in each family.
FEW, SOME = 1, 3
_REMEDY = re.compile(
    r"restore|delete|remove|rebuild|again|give|choose|rerun|resume|collect|train|assemble|build|"
    r"start|use |write|move|load|mend|correct|put|name|ask for",
    re.IGNORECASE,
)
#: Of a slow reader, what the default run tries at all.
_REPRESENTATIVE = ("half", "list", "number", "nan", "shape", "torn", "kept-size", "missing", "rows")

Worlds = Callable[[Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    """Gives the folder that a function fills, as it filled it, whatever was done to it since.

    It has the same place every time: some files hold absolute paths.
    """
    root = tmp_path_factory.mktemp("damage")
    made: dict[Any, Path] = {}

    def world(build: Callable[[Path], None]) -> Path:
        if build not in made:
            place = root / str(len(made)) / "work"
            place.mkdir(parents=True)
            build(place)
            shutil.copytree(place, place.with_name("sound"))
            made[build] = place
        place = made[build]
        shutil.rmtree(place)
        return Path(shutil.copytree(place.with_name("sound"), place))

    return world


@pytest.fixture(scope="session")
def sound(worlds: Worlds) -> Callable[[Kind, str], Any]:
    """What a reader makes of the undamaged files."""
    known: dict[tuple[Any, Reader], Any] = {}

    def result(kind: Kind, reader: str) -> Any:
        key = kind.build, kind.readers[reader]
        if key not in known:
            known[key] = kind.readers[reader](worlds(kind.build))
        return known[key]

    return result


def spoil(path: Path, content: Any) -> None:
    """Put `content` into the file's place, its time (and, if it has as many bytes, size) kept."""
    facts = path.stat()
    path.unlink()
    if content is FOLDER:
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def complaint(read: Reader, folder: Path, path: Path, expected: Any) -> str | None:
    """What is wrong with how a reader met the damage; None if nothing is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read(folder)
    except MixgymError as error:
        text = str(error)
        if path.name not in text:
            return f"file not named: {text[:300]}"
        if not _REMEDY.search(text):
            return f"no remedy: {text[:300]}"
        return None
    except Exception as error:
        return f"traceback: {type(error).__name__}: {str(error)[:200]}"
    return None if found == expected else "silent: another result"


def _cases() -> list[Any]:
    cases = []
    for kind in KINDS:
        for reader in kind.readers:
            for family in FORMATS[kind.format]:
                if family in kind.excused:
                    continue
                slow = reader in kind.slow
                builder = kind.build.__qualname__.replace(".<locals>", "").strip("_")
                name = f"{builder}-{kind.file.replace('/', '.')}-{reader}-{family}"
                marks = []
                if slow and family not in _REPRESENTATIVE:
                    marks.append(pytest.mark.slow)
                cases.append(pytest.param(kind, reader, family, False, id=name, marks=marks))
                cases.append(
                    pytest.param(
                        kind, reader, family, True, id=f"{name}-all", marks=pytest.mark.slow
                    )
                )
    return cases


@pytest.mark.parametrize(("kind", "reader", "family", "every"), _cases())
def test_damage_is_named_or_harmless(
    kind: Kind,
    reader: str,
    family: str,
    every: bool,
    worlds: Worlds,
    sound: Callable[[Kind, str], Any],
) -> None:
    for module in kind.needs:
        if find_spec(module) is None:
            pytest.skip(f"needs {module}")
    expected = sound(kind, reader)
    folder = worlds(kind.build)
    path = min(folder.glob(kind.file))
    cases = list(FORMATS[kind.format][family](path.read_bytes()))
    few = FEW if reader in kind.slow else SOME
    wrong = []
    for label, content in cases if every else cases[:few]:
        folder = worlds(kind.build)
        spoil(path, content)
        said = complaint(kind.readers[reader], folder, path, expected)
        if said is not None:
            wrong.append(f"{family} {label}: {said}")
    assert not wrong, "\n".join(wrong)
