"""The Simplex space, the action maps and `validate_mixture`."""

from __future__ import annotations

import copy
import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from mixgym.errors import UnknownNameError
from mixgym.simplex import (
    ACTION_MAPS,
    DirichletMap,
    Simplex,
    ilr,
    ilr_basis,
    inverse_ilr,
    make_action_map,
    validate_mixture,
    validate_mixtures,
)

SIZES = (2, 3, 8, 22)
DETERMINISTIC = ("softmax", "ilr", "delta", "simplex")


def random_mixtures(K: int, n: int = 50) -> np.ndarray:
    """Mixtures from near one domain to near uniform."""
    rng = np.random.default_rng(K)
    draws = [rng.dirichlet(np.full(K, c)) for c in (0.3, 1.0, 10.0) for _ in range(n)]
    draws = [validate_mixture(np.maximum(d, 1e-9), K, normalise=True) for d in draws]
    return np.array([*draws, np.full(K, 1 / K)])


# --- the space


@pytest.mark.parametrize("K", (1, *SIZES))
def test_simplex_contains_its_samples(K):
    space = Simplex(K, seed=3)
    for _ in range(100):
        sample = space.sample()
        assert sample.dtype == np.float32 and sample.shape == (K,)
        assert space.contains(sample)
        assert spaces.Box(0, 1, (K,), np.float32).contains(sample)


def test_simplex_samples_are_uniform_over_the_simplex():
    space = Simplex(4, seed=0)
    draws = np.array([space.sample() for _ in range(4000)])
    # flat Dirichlet: mean 1/K, variance (K-1) / (K^2 (K+1))
    np.testing.assert_allclose(draws.mean(axis=0), 0.25, atol=0.01)
    np.testing.assert_allclose(draws.var(axis=0), 3 / 80, rtol=0.1)


def test_simplex_samples_follow_the_seed_and_leave_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    first, second, third = Simplex(5, seed=1), Simplex(5), Simplex(5, seed=2)
    second.seed(1)
    sample = first.sample()
    np.testing.assert_array_equal(sample, second.sample())
    assert not np.array_equal(sample, third.sample())
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize(
    "value",
    [
        np.array([0.5, 0.6]),
        np.array([1.1, -0.1]),
        np.array([np.nan, 1.0]),
        np.array([0.2, 0.3, 0.5]),
        np.array([1, 0]),
        np.array([[0.5, 0.5]]),
        "ab",
        [[1.0], [0.0, 2.0]],
        None,
    ],
)
def test_simplex_does_not_contain(value):
    assert not Simplex(2).contains(value)


def test_simplex_contains_means_the_sum():
    assert Simplex(2).contains(np.array([0.5, 0.5 + 5e-6]))
    assert not Simplex(2).contains(np.array([0.5, 0.5 + 5e-5]))
    assert Simplex(2).contains(np.array([1.0, 0.0], dtype=np.float32))
    assert Simplex(3).contains(np.full(3, 1 / 3))


def test_simplex_equality_repr_copies_and_json():
    space = Simplex(3, seed=7)
    assert space == Simplex(3) and space != Simplex(4)
    box = spaces.Box(0.0, 1.0, (3,), np.float32)
    assert space != box and box != space
    assert repr(space) == "Simplex(3)"
    for twin in (copy.deepcopy(space), pickle.loads(pickle.dumps(space))):
        assert twin == space
        np.testing.assert_array_equal(twin.sample(), copy.deepcopy(space).sample())
    samples = [space.sample() for _ in range(2)]
    plain = json.loads(json.dumps(space.to_jsonable(samples)))
    np.testing.assert_array_equal(space.from_jsonable(plain), samples)


def test_simplex_batches_as_the_documented_box():
    batched = batch_space(Simplex(3), 2)
    assert type(batched) is spaces.Box and batched.shape == (2, 3)
    assert spaces.flatten_space(Simplex(3)).shape == (3,)


@pytest.mark.parametrize("K", [0, -1, 2.5, True, "3"])
def test_simplex_refuses_a_bad_number_of_domains(K):
    with pytest.raises(ValueError, match="number of domains"):
        Simplex(K)


# --- log-ratios


@pytest.mark.parametrize("K", SIZES)
def test_ilr_basis_is_orthonormal_and_sums_to_zero(K):
    basis = ilr_basis(K)
    np.testing.assert_allclose(basis.T @ basis, np.eye(K - 1), atol=1e-12)
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("K", SIZES)
def test_ilr_round_trips_and_is_an_isometry(K):
    mixtures = random_mixtures(K)
    for mixture in mixtures:
        np.testing.assert_allclose(inverse_ilr(ilr(mixture)), mixture, atol=1e-12)
    first, second = mixtures[0], mixtures[1]
    clr = [np.log(m) - np.log(m).mean() for m in (first, second)]
    distance = np.linalg.norm(ilr(first) - ilr(second))
    assert distance == pytest.approx(np.linalg.norm(clr[0] - clr[1]))


# --- the action maps


@pytest.mark.parametrize("name", list(ACTION_MAPS))
@pytest.mark.parametrize("K", SIZES)
def test_every_action_gives_a_mixture(name, K):
    action_map = make_action_map(name, K)
    space, rng = action_map.space, np.random.default_rng(0)
    space.seed(0)
    current = np.full(K, 1 / K)
    corners = [space.low, space.high] if name != "simplex" else list(np.eye(K, dtype=np.float32))
    for action in [*corners, *(space.sample() for _ in range(50))]:
        mixture = action_map.to_mixture(action, current, rng)
        assert mixture.dtype == np.float64 and mixture.shape == (K,)
        assert np.all(mixture >= 0) and abs(mixture.sum() - 1) < 1e-12
        current = mixture


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("K", SIZES)
def test_actions_round_trip_where_the_map_reaches(name, K):
    action_map = make_action_map(name, K)
    space, rng = action_map.space, np.random.default_rng(1)
    space.seed(1)
    for _ in range(30):
        current = rng.dirichlet(np.ones(K))
        mixture = action_map.to_mixture(space.sample(), current, rng)
        action = action_map.to_action(mixture, current)
        assert space.contains(action)
        np.testing.assert_allclose(
            action_map.to_mixture(action, current, rng), mixture, rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("name", list(ACTION_MAPS))
@pytest.mark.parametrize("K", SIZES)
def test_to_action_is_always_in_the_space(name, K):
    action_map = make_action_map(name, K)
    current = np.full(K, 1 / K)
    for mixture in [*random_mixtures(K, 10), *np.eye(K)]:
        assert action_map.space.contains(action_map.to_action(mixture, current))


@pytest.mark.parametrize("name", ["softmax", "ilr", "delta"])
def test_out_of_reach_mixtures_get_the_nearest_action(name):
    rng = np.random.default_rng(0)
    action_map, current = make_action_map(name, 4), np.array([0.4, 0.3, 0.2, 0.1])
    target = np.array([0.7, 0.3, 0.0, 0.0])

    def divergence(action: np.ndarray) -> float:
        reached = action_map.to_mixture(action, current, rng)
        return float(np.sum(target[:2] * np.log(target[:2] / reached[:2])))

    best = divergence(action_map.to_action(target, current))
    size = action_map.space.shape
    others = min(divergence(rng.uniform(-1, 1, size)) for _ in range(3000))
    assert best <= others
    if name == "softmax":
        assert best < 1e-3


def test_softmax_reach_is_the_documented_ratio():
    rng, current = np.random.default_rng(0), np.full(3, 1 / 3)
    mixture = make_action_map("softmax", 3).to_mixture([1, -1, -1], current, rng)
    assert mixture[0] / mixture[1] == pytest.approx(np.exp(10))
    one_hot = make_action_map("softmax", 3).to_action(np.array([1.0, 0, 0]), current)
    np.testing.assert_allclose(one_hot, [1, -1, -1])
    narrow = make_action_map("softmax", 8, scale=1.0)
    assert narrow.to_mixture(2.0 * np.eye(8)[0] - 1, current, rng).max() == pytest.approx(
        np.exp(2) / (np.exp(2) + 7)
    )


def test_uniform_is_the_zero_action():
    uniform = np.full(5, 0.2)
    for name in ("softmax", "ilr", "delta"):
        action = make_action_map(name, 5).to_action(uniform, uniform)
        np.testing.assert_allclose(action, 0, atol=1e-12)


def test_delta_moves_from_the_current_mixture():
    rng, current = np.random.default_rng(0), np.array([0.7, 0.2, 0.1])
    delta = make_action_map("delta", 3, scale=0.5)
    np.testing.assert_allclose(delta.to_mixture(np.zeros(3), current, rng), current, atol=1e-15)
    moved = delta.to_mixture([-1, 1, 0], current, rng)
    expected = current * np.exp([-0.5, 0.5, 0.0])
    np.testing.assert_allclose(moved, expected / expected.sum())


def test_delta_brings_a_domain_back_from_zero():
    rng, mixture = np.random.default_rng(0), np.array([1.0, 0.0])
    delta = make_action_map("delta", 2)
    for _ in range(10):
        mixture = delta.to_mixture([-1, 1], mixture, rng)
    assert mixture[1] > 0.9


def test_dirichlet_draws_from_the_given_stream_around_its_mean():
    action_map = DirichletMap(3)
    target, current = np.array([0.6, 0.3, 0.1]), np.full(3, 1 / 3)
    action = action_map.to_action(target, current)
    concentrations = action_map.concentrations(action)
    np.testing.assert_allclose(concentrations / concentrations.sum(), target, rtol=1e-5)
    assert concentrations.max() == pytest.approx(100.1)
    draws = [action_map.to_mixture(action, current, np.random.default_rng(s)) for s in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    rng = np.random.default_rng(0)
    mean = np.mean([action_map.to_mixture(action, current, rng) for _ in range(2000)], axis=0)
    np.testing.assert_allclose(mean, target, atol=0.005)


@pytest.mark.parametrize("name", ["softmax", "ilr", "delta", "dirichlet"])
def test_actions_of_the_wrong_shape_or_not_finite_are_refused(name):
    action_map = make_action_map(name, 3)
    size, current, rng = action_map.space.shape[0], np.full(3, 1 / 3), np.random.default_rng(0)
    for bad, message in (
        (np.full(size, np.nan), r"action\[0\] is nan"),
        (np.append(np.zeros(size - 1), np.inf), rf"action\[{size - 1}\] is inf"),
        (np.zeros(size + 1), rf"shape \({size},\), got \({size + 1},\)"),
        (np.zeros((1, size)), "must have shape"),
        (0.5, "must have shape"),
        (["a"] * size, "numbers"),
        (None, "must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            action_map.to_mixture(bad, current, rng)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["softmax", "ilr", "delta", "dirichlet"])
@pytest.mark.parametrize("far", [5e-7, 0.5, 1e30])
def test_actions_outside_the_box_are_clipped_into_it(name, far):
    action_map, current = make_action_map(name, 3), np.full(3, 1 / 3)
    action = np.zeros(action_map.space.shape)
    for edge in (-1.0, 1.0):
        action[0] = edge
        at = action_map.to_mixture(action, current, np.random.default_rng(0))
        action[0] = edge * (1 + far)
        beyond = action_map.to_mixture(action, current, np.random.default_rng(0))
        np.testing.assert_array_equal(beyond, at)


def test_rounding_below_zero_is_no_fault_of_a_mixture():
    rng, current = np.random.default_rng(0), np.full(2, 0.5)
    simplex = make_action_map("simplex", 2)
    np.testing.assert_array_equal(simplex.to_mixture([1.0, -5e-7], current, rng), [1.0, 0.0])
    with pytest.raises(ValueError, match="not negative"):
        simplex.to_mixture([1.0, -5e-6], current, rng)


@pytest.mark.parametrize("bad", [[0.5, 0.6], [np.nan, 1.0], [0.0, 0.0], [1.0], [[0.5, 0.5]]])
def test_simplex_map_refuses_what_is_no_mixture(bad):
    with pytest.raises(ValueError):
        make_action_map("simplex", 2).to_mixture(bad, np.full(2, 0.5), np.random.default_rng(0))


def test_action_maps_are_values():
    assert make_action_map("softmax", 3) == make_action_map("softmax", 3, scale=5.0)
    action_map = make_action_map("delta", 3)
    assert pickle.loads(pickle.dumps(action_map)) == action_map
    with pytest.raises(AttributeError):
        action_map.K = 4  # type: ignore[misc]
    assert action_map.space is not action_map.space


def test_unknown_maps_and_arguments_are_named_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'softmax'"):
        make_action_map("sofmax", 3)
    with pytest.raises(UnknownNameError, match="did you mean 'scale'"):
        make_action_map("softmax", 3, scal=1.0)
    for name in ("softmax", "ilr", "delta", "dirichlet"):
        for value in (0.0, -1.0, np.inf, np.nan):
            with pytest.raises(ValueError, match="scale"):
                make_action_map(name, 3, scale=value)
    with pytest.raises(ValueError, match="2 or more"):
        make_action_map("ilr", 1)


# --- mixtures


def test_validate_mixture_returns_a_new_exact_mixture():
    given = np.array([0.25, 0.75], dtype=np.float32) + np.float32(1e-6)
    mixture = validate_mixture(given, 2)
    assert mixture.dtype == np.float64 and abs(mixture.sum() - 1) < 1e-12
    own = np.array([0.5, 0.5])
    mixture = validate_mixture(own, 2)
    mixture[0] = 9
    assert own[0] == 0.5


@pytest.mark.parametrize("scale", [1e-310, 1e-30, 1.0, 1e300])
def test_validate_mixture_normalises_on_request(scale):
    mixture = validate_mixture(np.array([3.0, 1.0]) * scale, 2, normalise=True)
    np.testing.assert_allclose(mixture, [0.75, 0.25], rtol=1e-9)
    assert abs(mixture.sum() - 1) < 1e-12


def test_validate_mixture_names_the_domain():
    names = ["recipes", "code"]
    for value in (-0.1, np.nan, np.inf):
        for normalise in (False, True):
            with pytest.raises(ValueError, match=f"'code' is {value}"):
                validate_mixture([1.0, value], 2, names, normalise=normalise)
    with pytest.raises(ValueError, match="all weights are zero"):
        validate_mixture([0, 0], 2, names, normalise=True)
    with pytest.raises(ValueError, match="sum to 4"):
        validate_mixture([3, 1], 2)
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2,\)"):
        validate_mixture([0.5, 0.5], 3)


def test_the_space_passes_gymnasiums_own_checks():
    class Stub(gym.Env):
        observation_space = spaces.Box(-1, 1, (1,), np.float32)
        action_space = Simplex(3)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.zeros(1, np.float32), {}

        def step(self, action):
            assert self.action_space.contains(action)
            return np.zeros(1, np.float32), 0.0, True, False, {}

    from gymnasium.utils.env_checker import check_env

    check_env(Stub(), skip_render_check=True)


def test_many_mixtures_are_validated_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    for K in (1, 2, 5, 8, 22, 52, 300):
        weights = rng.dirichlet(np.full(K, 0.3), 50).astype(np.float32)
        expected = [validate_mixture(row, K) for row in weights]
        assert np.array_equal(validate_mixtures(weights, K), expected)
        raw = rng.random((50, K)) * 1e3 + 1e-9
        expected = [validate_mixture(row, K, normalise=True) for row in raw]
        assert np.array_equal(validate_mixtures(raw, K, normalise=True), expected)


@pytest.mark.parametrize("bad", [[[0.5, np.nan]], [[0.2, 0.2]], [[0.0, 0.0]], [0.5, 0.5], [[1.0]]])
def test_bad_mixtures_among_many_are_refused(bad: list) -> None:
    with pytest.raises(ValueError):
        validate_mixtures(bad, 2)
