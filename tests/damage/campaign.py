"""Damaging files of a folder and seeing how their readers meet it."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mixgym.errors import MixgymError
from tests.damage.corruptions import FOLDER, FORMATS
from tests.damage.kinds import Kind, Reader

_REMEDY = re.compile(
    r"restore|delete|remove|rebuild|again|give|choose|rerun|resume|collect|train|assemble|build|"
    r"start|use |write|move|load|mend|correct|put|name|ask for",
    re.IGNORECASE,
)


class Campaign:
    """Makes every kind's files once, below `root`, and damages copies of them.

    A folder has the same place every time: some files hold absolute paths.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: dict[Any, Path] = {}
        self._sound: dict[tuple[Any, Reader], Any] = {}

    def folder(self, build: Callable[[Path], None]) -> Path:
        """The folder that `build` fills, as it filled it, whatever was done to it since."""
        if build not in self._made:
            place = self._root / str(len(list(self._root.iterdir()))) / "work"
            place.mkdir(parents=True)
            build(place)
            shutil.copytree(place, place.with_name("sound"))
            self._made[build] = place
        place = self._made[build]
        shutil.rmtree(place, ignore_errors=True)
        return Path(shutil.copytree(place.with_name("sound"), place))

    def sound(self, kind: Kind, reader: str) -> Any:
        """What a reader makes of the undamaged files; twice the same, or it can show nothing."""
        key = kind.build, kind.readers[reader]
        if key not in self._sound:
            first, second = (kind.readers[reader](self.folder(kind.build)) for _ in range(2))
            assert first == second
            self._sound[key] = first
        return self._sound[key]

    def complaints(
        self, kind: Kind, reader: str, family: str, most: int | None = None
    ) -> Iterator[tuple[str, str]]:
        """Yield (case, what is wrong with how the reader met it), of at most so many cases."""
        expected = self.sound(kind, reader)
        content = min(self.folder(kind.build).glob(kind.file)).read_bytes()
        cases = list(FORMATS[kind.format][family](content))
        for label, spoilt in cases[:most]:
            folder = self.folder(kind.build)
            path = min(folder.glob(kind.file))
            spoil(path, spoilt)
            said = _complaint(kind.readers[reader], folder, path.name, expected)
            if said is not None:
                yield f"{family} {label}".strip(), said


def spoil(path: Path, content: Any) -> None:
    """Put `content` into the file's place, its time (and, if it has as many bytes, size) kept."""
    facts = path.stat()
    path.unlink()
    if content is FOLDER:
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _complaint(read: Reader, folder: Path, name: str, expected: Any) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read(folder)
    except MixgymError as error:
        text = str(error).replace(str(folder), "...")
        if name not in text:
            return f"file not named: {text[:300]}"
        if not _REMEDY.search(text):
            return f"no remedy: {text[:300]}"
        return None
    except Exception as error:
        return f"traceback: {type(error).__name__}: {str(error)[:200]}"
    return None if found == expected else "silent: another result"
