import numpy as np
import pytest

from mixgym.envs.task import MixingTask, domain_weights
from mixgym.errors import UnknownNameError

TASK = MixingTask(
    names=("a", "b", "c"),
    natural=np.array([0.5, 0.3, 0.2]),
    objective=np.array([0.0, 0.0, 1.0]),
    groups={"front": ("a", "b")},
)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("uniform", [1 / 3] * 3),
        ("natural", [0.5, 0.3, 0.2]),
        ("objective", [0, 0, 1]),
        ("b", [0, 1, 0]),
        ("front", [0.625, 0.375, 0]),
        ({"objective": 3, "a": 1}, [0.25, 0, 0.75]),
        ({"natural": 1, "objective": 1}, [0.25, 0.15, 0.6]),
        ([2, 1, 1], [0.5, 0.25, 0.25]),
    ],
)
def test_named_mixtures(spec: object, expected: list[float]) -> None:
    np.testing.assert_allclose(TASK.mixture(spec), expected)  # type: ignore[arg-type]


def test_a_named_mixture_is_a_copy() -> None:
    TASK.mixture("natural")[:] = 0
    assert TASK.natural.sum() == 1


def test_bad_mixtures() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'natural'"):
        TASK.mixture("naturl")
    with pytest.raises(ValueError, match="3 weights"):
        TASK.mixture([1, 2])
    with pytest.raises(ValueError, match=r"'b'.*-1"):
        TASK.mixture([1, -1, 1])
    with pytest.raises(ValueError, match="zero"):
        TASK.mixture({"a": 0})


def test_objectives() -> None:
    groups = TASK.groups
    names = TASK.names
    for spec, expected in [
        ("mean", [1 / 3] * 3),
        ("front", [0.5, 0.5, 0]),
        (["front", "c"], [1 / 3] * 3),
        ({"a": 3, "c": 1}, [0.75, 0, 0.25]),
    ]:
        np.testing.assert_allclose(domain_weights(spec, names, groups, "objective"), expected)
