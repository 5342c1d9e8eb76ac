"""Divisions into topics that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixgym.corpus import load_corpus
from mixgym.corpus.derived import DerivedSource
from mixgym.corpus.divisions import packaged_division, read_division, write_division
from mixgym.corpus.split import SPLITS
from mixgym.corpus.topics import Topics, described
from mixgym.envs.micro_continual52 import MicroContinual52Env
from mixgym.errors import DamagedFileError


@pytest.fixture
def source() -> DerivedSource:
    name = "topics:core19?source=wiki_en,legal&target=sympy&topics=2"
    parsed = DerivedSource.parse(name)
    assert parsed is not None
    return parsed


def test_a_division_is_read_as_it_was_written(source: DerivedSource, tmp_path: Path) -> None:
    parts = {
        "source_law": {"train": [("legal", 0), ("legal", 2)], "validation": [], "test": []},
        "source_rest": {
            "train": [("wiki_en", 0), ("wiki_en", 1), ("legal", 1)],
            "validation": [("legal", 0)],
            "test": [("wiki_en", 0)],
        },
        "target_sums": {"train": [("sympy", 1)], "validation": [("sympy", 0)], "test": []},
        "target_rings": {"train": [("sympy", 0)], "validation": [], "test": []},
    }
    cells = {
        name: described(name.partition("_")[2], source.fields[name.partition("_")[0]], documents)
        for name, documents in parts.items()
    }
    topics = Topics(cells, {"source": ["law", "rest"], "target": ["sums", "rings"]}, [])
    write_division(topics, source.name, source.fields, "abc", tmp_path / "division.npz")
    again = read_division(tmp_path / "division.npz")
    assert again == topics
    assert again.cells["source_law"][:2] == (("legal",), "law (legal)")
    assert again.cells["source_rest"][0] == ("wiki_en", "legal")


def test_more_topics_than_a_byte_counts_are_refused(source: DerivedSource, tmp_path: Path) -> None:
    topics = Topics({}, {"source": [str(n) for n in range(257)]}, [])
    with pytest.raises(ValueError, match="more than 256 topics"):
        write_division(topics, source.name, source.fields, "abc", tmp_path / "division.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("topics", [26, 5])
def test_the_committed_results_divisions_are_packaged(topics: int) -> None:
    base = load_corpus("core19")
    name = MicroContinual52Env.DEFAULTS.updated({"topics": topics}).corpus_name
    source = DerivedSource.parse(name)
    assert source is not None
    found = packaged_division(source.name, base.manifest["content_hash"])
    assert found is not None and len(found.cells) == 2 * topics
    assert packaged_division(source.name, "another text") is None
    for field, members in source.fields.items():
        for split in SPLITS:
            own = [cell[2][split] for name, cell in found.cells.items() if name.startswith(field)]
            numbers = sorted(document for part in own for document in part)
            assert numbers == sorted(
                (member, k)
                for member in members
                for k in range(base.manifest["domains"][member]["splits"][split]["documents"])
            )


def test_the_environments_corpus_is_that_of_the_committed_results() -> None:
    folder = Path(__file__).parents[2] / "benchmarks" / "results"
    for suite, comparison, topics in (
        ("dma", "MicroContinual52-v0", 26),
        ("dma-generalisation", "ten-topics", 5),
    ):
        table = np.genfromtxt(
            folder / suite / "summary.csv", delimiter=",", names=True, dtype=None, encoding="utf-8"
        )
        (expected,) = set(table["corpus_hash"][table["comparison"] == comparison])
        name = MicroContinual52Env.DEFAULTS.updated({"topics": topics}).corpus_name
        assert load_corpus(name).hash == expected


def _write(path: Path) -> None:
    documents = {"train": [("legal", 0)], "validation": [], "test": []}
    topics = Topics({"one_law": described("law", ("legal",), documents)}, {"one": ["law"]}, [])
    write_division(topics, "topics:x", {"one": ("legal",)}, "abc", path)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as data:
        return {name: data[name] for name in data.files}


def _facts(change: str) -> np.ndarray:
    return np.frombuffer(change.encode(), np.uint8)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda a: a.pop("facts"), "has no facts"),
        (lambda a: a.update(facts=_facts("[]")), "facts, has another structure"),
        (lambda a: a.update(facts=_facts("{")), "facts, is not valid JSON"),
        (
            lambda a: a.update({"one/train/legal": np.array([2], np.uint8)}),
            "one/train/legal is not",
        ),
        (lambda a: a.update({"one/train/legal": np.zeros((1, 1), np.uint8)}), "one/train/legal is"),
        (lambda a: a.update({"one/train/legal": np.zeros(1)}), "one/train/legal is not a topic"),
    ],
)
def test_a_damaged_division_is_named(change: Any, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "division.npz"
    _write(path)
    arrays = _arrays(path)
    change(arrays)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(DamagedFileError, match=rf"{path}.*{fault}.*install mixgym again"):
        read_division(path)


@pytest.mark.parametrize("keep", [0, 10, 300, -30])
def test_a_cut_division_is_named(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "division.npz"
    _write(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedFileError, match=rf"{path} is damaged.*install mixgym again"):
        read_division(path)
