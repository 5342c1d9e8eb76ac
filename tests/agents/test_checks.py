"""Arguments of mixers and agents with proxies, checked by the annotations of their fields."""

from __future__ import annotations

import math
from typing import Any

import pytest
from mixgym_agents.mixers.pike import Pike
from mixgym_agents.mixers.random import Random
from mixgym_agents.proxies.aioli import Aioli
from mixgym_agents.proxies.dbl import DynamicBatchLoading
from mixgym_agents.proxies.doge import Doge
from mixgym_agents.proxies.doremi import DoReMi
from mixgym_agents.proxies.mixing_law import MixingLawAgent
from mixgym_agents.proxies.olmix import Olmix
from mixgym_agents.proxies.oracle_lookahead import OracleLookahead
from mixgym_agents.proxies.regmix import RegMix
from mixgym_agents.proxies.skill_it import SkillIt


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DoReMi(eta=0.0), "eta=0.0"),
        (lambda: DoReMi(smoothing=0.0), "smoothing=0.0"),
        (lambda: DoReMi(steps=0), "steps=0"),
        (lambda: Doge(interval=0), "interval=0"),
        (lambda: Doge(mu=-1.0), r"mu=-1\.0"),
        (lambda: Doge(target="law"), "unknown target"),  # type: ignore[arg-type]
        (lambda: DynamicBatchLoading(eta=0.0), "eta=0.0"),
        (lambda: DynamicBatchLoading(smoothing=1.0), "smoothing=1.0"),
        (lambda: SkillIt(window=0), "window=0"),
        (lambda: SkillIt(eta=-1.0), r"eta=-1\.0"),
        (lambda: Aioli(rounds=0), "rounds=0"),
        (lambda: Aioli(share=0.0), "share=0.0"),
        (lambda: Aioli(ema=1.0), "ema=1.0"),
        (lambda: OracleLookahead(horizon=0), "horizon=0"),
        (lambda: OracleLookahead(move=2.0), "move=2.0"),
        (lambda: OracleLookahead(candidates="natural"), "list of mixtures"),
        (lambda: RegMix(proxies=3), "proxies=3"),
        (lambda: RegMix(steps=0), "steps=0"),
        (lambda: RegMix(temperature=-1.0), r"temperature=-1\.0"),
        (lambda: RegMix(strengths=(2.0, 1.0)), "strengths="),
        (lambda: RegMix(strengths=(1.0,)), "strengths="),
        (lambda: RegMix(minimum=1.0), "minimum=1.0"),
        (lambda: RegMix(repetitions=0.0), "repetitions=0.0"),
        (lambda: RegMix(draws=10, top=11), "top=11"),
        (lambda: RegMix(trees=0), "trees=0"),
        (lambda: RegMix(learning_rate=0.0), "learning_rate=0.0"),
        (lambda: MixingLawAgent(delta=0.0), "delta=0.0"),
        (lambda: Random(concentration=0), "concentration=0 must be a positive finite number"),
        (lambda: Random(concentration=math.inf), "concentration=inf must be a positive finite"),
        (lambda: Random(concentration=math.nan), "concentration=nan must be"),
        (lambda: Random(concentration=True), "concentration=True must be"),
        (lambda: Random(concentration="1"), "concentration='1' must be"),  # type: ignore[arg-type]
        (lambda: Pike(zeta2=-1.0), "zeta2=-1.0 must be a finite number, not negative"),
        (lambda: Pike(every=1.0), "every=1.0 must be a positive whole number"),  # type: ignore[arg-type]
        (lambda: Pike(smoothing=1.0), r"smoothing=1.0 must be a number in \[0, 1\)"),
        (lambda: DoReMi(smoothing=1.0), r"smoothing=1.0 must be a number in \(0, 1\)"),
        (lambda: DoReMi(model=3), "model=3 must be a preset"),
        (lambda: RegMix(proxies=3), "proxies=3 must be a whole number >= 4"),
        (lambda: RegMix(steps=True), "steps=True must be a positive whole number or None"),
        (lambda: Aioli(ema=1.0), r"ema=1.0 must be a number in \[0, 1\) or None"),
        (lambda: Olmix(cap=0), "cap=0 must be a positive finite number or None"),
    ],
)
def test_bad_arguments(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_what_is_kept_is_plain_and_the_ends_of_ranges_are_allowed() -> None:
    agent = RegMix(strengths=[1, 2], learning_rate=1, repetitions=None, prior={"code": 1})
    assert (agent.strengths, agent.prior) == ((1.0, 2.0), {"code": 1.0})
    oracle = OracleLookahead(candidates=("natural", [1, 3]), move=0, draws=0)
    assert oracle.candidates == ["natural", [1.0, 3.0]]
    assert (Aioli(ema=None, share=1.0).ema, Pike(zeta2=0).zeta2) == (None, 0)
