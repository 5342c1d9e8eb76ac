"""Topics of documents: a reproducible, offline stand-in for a trained topic classifier.

The Data Mixing Agent (arXiv 2507.15640) divides both fields by one web-page classifier of 26
classes. Here documents are clustered by their words, so that nothing is downloaded and every field
can be divided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.corpus.build import text_path
from mixgym.corpus.documents import Cell, Documents, Members
from mixgym.corpus.progress import Reporter
from mixgym.corpus.split import SPLITS
from mixgym.errors import CorpusError, missing_extra

VOCABULARY = 8192
LABEL_WORDS = 3
SMALLEST_TRAIN = 32_768
SMALLEST_EVALUATION = 4_096
"""A topic has at least these bytes of train text, and of validation and test text each."""

_DIMENSIONS = 64


@dataclass(frozen=True)
class Topics:
    """The domains of a topic corpus.

    Attributes:
        cells: what each domain is made of, by its name.
        facts: for the manifest: the labels of each field's topics, the largest first.
        notes: what did not come out as asked.
    """

    cells: dict[str, Cell]
    facts: dict[str, Any]
    notes: list[str]


def topics_of(
    fields: Mapping[str, tuple[str, ...]],
    folder: Path,
    reporter: Reporter,
    *,
    topics: int,
    seed: int,
) -> Topics:
    """Divide each field, some domains of the corpus in `folder`, into `topics` of its own.

    Documents are term-frequency vectors (logarithmic, inverse document frequency, unit length; the
    8192 most frequent words of the train split, the first by alphabet of equals, English stop words
    left out) projected onto their 64 principal directions and scaled to unit length. The largest
    topic, by train text, is divided by 2-means (weighted by the documents' bytes) until there are
    as many as wanted. Where that would leave one with less than 32 kB of train, or 4 kB of
    validation or test, text, the topic is cut at half its train text across the line between the
    two centres; where that would too, it stays whole, and the next largest is tried. All is learned
    from the train split; documents of validation and test go where their words put them and stay in
    their split.

    Fields do not share topics, as the paper's do under its classifier: prose and mathematics have
    too few in common here, and most of the 52 would be empty.

    Processors round otherwise, and clustering amplifies it: points are rounded to six digits, which
    leaves little of that, and the divisions of the committed results are packaged
    (`mixgym.corpus.divisions`). Where a document is placed elsewhere all the same, the corpus's
    content hash differs, and results do not mix.

    Raises:
        MissingExtraError: without scikit-learn.
        CorpusError: a field without words.
    """
    cells: dict[str, Cell] = {}
    facts: dict[str, Any] = {}
    notes: list[str] = []
    for name, members in fields.items():
        reporter.start(0, f"finding topics of {name}")
        field = _Field(name, folder, members)
        counts, words = _term_frequencies(field, members)
        found = _divided(field, _projected(field, counts, seed), topics, seed)
        labels = _labels(found, counts, words)
        for rows, label in zip(found, labels, strict=True):
            cells[f"{name}_{label}"] = field.cell(rows, label)
        facts[name] = labels
        if len(found) < topics:
            notes.append(
                f"field {name!r} has {len(found)} topics, not {topics}: no further one would have "
                f"{SMALLEST_TRAIN // 1024} kB of train text and {SMALLEST_EVALUATION // 1024} kB "
                "of validation and test text"
            )
    return Topics(cells, facts, notes)


class _Field:
    """The documents of a field: all members, all splits, train first."""

    def __init__(self, name: str, folder: Path, members: tuple[str, ...]) -> None:
        self.name = name
        self.members = members
        self.rows: list[tuple[str, str, int]] = []
        self.texts: list[str] = []
        lengths = []
        for split in SPLITS:
            for member in members:
                documents = Documents(text_path(folder, member, split))
                lengths.append(documents.lengths + 1)
                for number in range(len(documents)):
                    self.rows.append((split, member, number))
                    self.texts.append(documents[number].decode("utf-8", "replace"))
        self.lengths = np.concatenate(lengths)
        self.split = np.array([SPLITS.index(split) for split, _, _ in self.rows])

    def sizes(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """(3,) bytes of some documents in every split."""
        return np.bincount(self.split[rows], self.lengths[rows], minlength=3)

    def cell(self, rows: NDArray[np.int64], label: str) -> Cell:
        chosen: dict[str, Members] = {split: [] for split in SPLITS}
        for row in rows:
            split, member, number = self.rows[row]
            chosen[split].append((member, number))
        return described(label, self.members, chosen)


def described(label: str, candidates: tuple[str, ...], documents: dict[str, Members]) -> Cell:
    """Return a topic's cell: its members among the candidates, its description, its documents."""
    used = {member for part in documents.values() for member, _ in part}
    members = tuple(member for member in candidates if member in used)
    return Cell(members, f"{label.replace('_', ', ')} ({', '.join(members)})", documents)


def _term_frequencies(field: _Field, members: tuple[str, ...]) -> tuple[Any, NDArray[np.str_]]:
    """Sparse (documents, words) vectors, and the words."""
    try:
        from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    except ImportError as error:
        raise missing_extra("scikit-learn", "topics", "a topic corpus") from error
    train = [text for text, k in zip(field.texts, field.split, strict=True) if k == 0]
    words: dict[str, Any] = {
        "stop_words": "english",
        "token_pattern": r"(?<![^\W_])[a-z]{3,}(?![^\W_])",
    }
    try:
        counter = CountVectorizer(**words, min_df=2)
        counts: Any = counter.fit_transform(train)
        frequencies = np.asarray(counts.sum(axis=0)).ravel()
        # Stable: max_features leaves the choice among equals to the processor's own sort.
        chosen = np.sort(np.argsort(-frequencies, kind="stable")[:VOCABULARY])
        vocabulary = counter.get_feature_names_out()[chosen]
        vectoriser = TfidfVectorizer(**words, vocabulary=vocabulary, sublinear_tf=True).fit(train)
    except ValueError as error:  # an empty vocabulary
        raise CorpusError(
            f"no topics in {field.name} ({', '.join(members)}): {error}; give it more text"
        ) from error
    return vectoriser.transform(field.texts), vectoriser.get_feature_names_out()


def _projected(field: _Field, vectors: Any, seed: int) -> NDArray[np.float64]:
    from sklearn.decomposition import TruncatedSVD
    from threadpoolctl import threadpool_limits

    size = min(_DIMENSIONS, min(vectors.shape) - 1)
    with threadpool_limits(1):
        projection = TruncatedSVD(size, random_state=seed).fit(vectors[field.split == 0])
        points = projection.transform(vectors)
    return np.round(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12), 6)


def _divided(
    field: _Field, points: NDArray[np.float64], wanted: int, seed: int
) -> list[NDArray[np.int64]]:
    """Rows of each topic, the largest first."""
    topics = [np.arange(len(points))]
    final: list[NDArray[np.int64]] = []
    while topics and len(topics) + len(final) < wanted:
        largest = max(topics, key=lambda rows: field.sizes(rows)[0])
        topics = [rows for rows in topics if rows is not largest]
        for halves in _divisions(field, points, largest, seed):
            if not any(_small(field.sizes(rows)) for rows in halves):
                topics += halves
                break
        else:
            final.append(largest)
    return sorted(topics + final, key=lambda rows: (-field.sizes(rows)[0], rows[0]))


def _divisions(
    field: _Field, points: NDArray[np.float64], rows: NDArray[np.int64], seed: int
) -> Iterator[list[NDArray[np.int64]]]:
    """The 2-means division of a topic, then the one across its axis at half the train text."""
    from sklearn.cluster import KMeans as _KMeans
    from threadpoolctl import threadpool_limits

    kmeans: Any = _KMeans  # its annotations know n_init as a string only
    train = rows[field.split[rows] == 0]
    if len(np.unique(points[train], axis=0)) < 2:
        return
    weights = field.lengths[train].astype(np.float64)
    # Several threads would add up in another order every time.
    with threadpool_limits(1):
        model = kmeans(2, random_state=seed, n_init=4).fit(points[train], sample_weight=weights)
        side = model.predict(points[rows]) == 0
        axis = model.cluster_centers_[1] - model.cluster_centers_[0]
        along = points @ axis
    yield [rows[side], rows[~side]]
    order = np.argsort(along[train], kind="stable")
    middle = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    side = along[rows] <= along[train][order[middle]]
    yield [rows[side], rows[~side]]


def _small(sizes: NDArray[Any]) -> bool:
    return bool(sizes[0] < SMALLEST_TRAIN or min(sizes[1:]) < SMALLEST_EVALUATION)


def _labels(topics: list[NDArray[np.int64]], vectors: Any, words: NDArray[np.str_]) -> list[str]:
    """A topic's words: those that it has most above the field's mean; no label twice."""
    overall = np.asarray(vectors.mean(axis=0)).ravel()
    labels: list[str] = []
    for rows in topics:
        more = np.asarray(vectors[rows].mean(axis=0)).ravel() - overall
        ranked = [str(words[k]) for k in np.argsort(-more, kind="stable") if more[k] > 0]
        label, used = "_".join(ranked[:LABEL_WORDS]) or "other", LABEL_WORDS
        while label in labels:
            label = f"{label}_{ranked[used] if used < len(ranked) else used}"
            used += 1
        labels.append(label)
    return labels
