import pytest

from mixgym.envs.arguments import EnvironmentArguments
from mixgym.errors import UnknownNameError

DEFAULTS = EnvironmentArguments(limit={"recipes": 100, "python": 200})


def test_default_limits_go_with_their_corpus_and_domains() -> None:
    assert DEFAULTS.updated({"corpus": "files:mine"}).limit is None
    assert DEFAULTS.updated({"corpus": DEFAULTS.corpus}).limit == DEFAULTS.limit
    assert DEFAULTS.updated({"domains": ["python", "icd10"]}).limit == {"python": 200}
    assert DEFAULTS.updated({"domains": ["icd10"]}).limit is None
    given = {"domains": ["icd10"], "limit": {"icd10": 5}}
    assert DEFAULTS.updated(given).limit == {"icd10": 5}


def test_given_limits_are_merged_into_the_default_ones() -> None:
    assert DEFAULTS.updated({"limit": {"recipes": 7}}).limit == {"recipes": 7, "python": 200}
    assert DEFAULTS.updated({"limit": {"recipes": None}}).limit == {"python": 200}
    assert DEFAULTS.updated({"limit": None}).limit is None
    assert DEFAULTS.updated({}).limit == DEFAULTS.limit
    # An EnvSpec rebuilds from the arguments given, so updating twice changes nothing.
    twice = DEFAULTS.updated({"limit": {"recipes": 7}}).updated({})
    assert twice.limit == {"recipes": 7, "python": 200}


def test_training_arguments_replace_the_presets() -> None:
    changed = DEFAULTS.updated({"learning_rate": 0.5, "decisions": 3}).updated({"clip": 2.0})
    assert changed.decisions == 3
    settings = changed.training_settings()
    assert (settings.learning_rate, settings.clip) == (0.5, 2.0)
    assert settings.context == EnvironmentArguments().training_settings().context


def test_unknown_arguments_are_suggested() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'warmup_steps'"):
        DEFAULTS.updated({"warmup_step": 3})
