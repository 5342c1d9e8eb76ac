"""`mixgym data base`."""

from __future__ import annotations

import re

import pytest
from command_line import Call, words


def test_a_base_is_built_and_named(call: Call) -> None:
    arguments = ["data", "base", "NanoContinual-v0", "--env-arg", "base={steps: 4}"]
    code, shown, errors = call(*arguments, "--env-arg", "context=16")
    assert code == 0, errors
    assert "4 steps on wiki_en, recipes of nano8" in shown
    assert re.search(r"hash [0-9a-f]{64}", shown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["NanoPretrain-v0"], "NanoPretrain-v0 starts from a fresh model"),
        (["NanoContinual-v0", "--env-arg", "base={steps: 0}"], "is no base"),
        (["NanoContinual-v0", "--env-arg", "sourc=prose"], "did you mean 'source'"),
        (["NanoContinul-v0"], "did you mean"),
    ],
)
def test_bad_input_is_one_message(arguments: list[str], message: str, call: Call) -> None:
    code, _, errors = call("data", "base", *arguments)
    assert code == 1 and message in words(errors)
