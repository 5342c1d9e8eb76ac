"""Damage to any file is refused by its name, with what to do about it, or does no harm.

Every kind of file that mixgym writes or reads (`kinds`) is damaged in every way that fits it
(`corruptions`) and read by whoever reads it. Each case must raise a `MixgymError` that names the
file and the remedy, or come to the very result of the undamaged file, say because the file was made
again. None is passed over in silence, and none is another exception. The default run takes the
first cases of every way; those marked slow take all.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from tests.damage.campaign import Campaign
from tests.damage.kinds import KINDS, Kind

#: Cases of a family that the default run takes of a slow reader and of a quick one.
_FEW, _SOME = 1, 2
#: Families that the default run tries on a slow reader.
_REPRESENTATIVE = ("half", "list", "number", "nan", "shape", "torn", "kept-size", "missing", "rows")


@pytest.fixture(scope="session")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(tmp_path_factory.mktemp("damage"))


def _cases() -> list[Any]:
    cases = []
    for kind in KINDS:
        for reader in kind.readers:
            slow = reader in kind.slow
            for family in kind.families(reader):
                name = f"{kind.area}: {kind.file} {reader} {family}"
                most = _FEW if slow else _SOME
                marks = [pytest.mark.slow] if slow and family not in _REPRESENTATIVE else []
                cases.append(pytest.param(kind, reader, family, most, id=name, marks=marks))
                every = pytest.param(
                    kind, reader, family, None, id=f"{name} all", marks=pytest.mark.slow
                )
                cases.append(every)
    return cases


@pytest.mark.parametrize(("kind", "reader", "family", "most"), _cases())
def test_damage_is_named_or_harmless(
    kind: Kind, reader: str, family: str, most: int | None, campaign: Campaign
) -> None:
    for module in kind.needs:
        if find_spec(module) is None:
            pytest.skip(f"needs {module}")
    found = [f"{case}: {said}" for case, said in campaign.complaints(kind, reader, family, most)]
    assert not found, "\n".join(found)
