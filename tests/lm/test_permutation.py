import numpy as np
import pytest

from mixgym.lm.permutation import permute, permute_each, round_keys, stable_key


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 1000, 4097])
def test_every_position_exactly_once(n: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(n), n, key=5)), np.arange(n))


def test_keys_give_unrelated_permutations() -> None:
    a, b = (permute(np.arange(5000), 5000, key=k) for k in (1, 2))
    assert (a == b).mean() < 0.01
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05
    # Neighbours are scattered, not merely rotated.
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.05


def test_one_position_equals_the_whole() -> None:
    whole = permute(np.arange(777), 777, key=9)
    assert [int(permute(i, 777, key=9)[0]) for i in range(0, 777, 50)] == whole[::50].tolist()


def test_a_position_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="0, 10"):
        permute(10, 10, key=0)


def test_stable_key_is_the_same_in_every_process() -> None:
    assert stable_key("order", 3, "recipes") == 17204117093910979348


def test_many_permutations_at_once_are_those_taken_one_by_one() -> None:
    rng = np.random.default_rng(0)
    sizes = np.concatenate([np.arange(1, 70), [255, 256, 257, 4095, 4096, 4097, 10**6, 2**40 + 3]])
    n = rng.choice(sizes, 2000)
    index = (rng.random(2000) * n).astype(np.int64)
    seeds = rng.integers(0, 9, 2000)
    expected = [
        int(permute(int(i), int(m), int(k))[0]) for i, m, k in zip(index, n, seeds, strict=True)
    ]
    keys = np.stack([round_keys(int(seed)) for seed in seeds])
    assert permute_each(index, n, keys).tolist() == expected


def test_positions_outside_their_own_range_are_refused() -> None:
    keys = np.stack([round_keys(0)] * 2)
    with pytest.raises(ValueError, match="own range"):
        permute_each(np.array([0, 5]), np.array([3, 5]), keys)
