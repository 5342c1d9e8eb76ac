from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mixgym.plotting.balance import BalancePoint, balance_figure
from mixgym.plotting.curves import curves_figure, mean_curve
from mixgym.plotting.episode import EpisodeHistory, episode_frame
from mixgym.plotting.forest import ForestRow, forest_figure
from mixgym.plotting.losses import losses_figure
from mixgym.plotting.river import NAMED, rivers_figure
from mixgym.plotting.style import DOMAINS, domain_colours, pixels, spread
from mixgym.plotting.text import episode_text, trend


def history(domains: int, rows: int) -> EpisodeHistory:
    rng = np.random.default_rng(0)
    losses = [np.full(domains, np.nan), *rng.uniform(1, 5, (rows - 1, domains))]
    return EpisodeHistory(
        names=[f"domain_{k}" for k in range(domains)],
        steps=[10 * t for t in range(rows)],
        mixtures=list(rng.dirichlet(np.ones(domains), rows)),
        train_losses=losses[:rows],
        objective=[5.0 - 0.1 * t for t in range(rows)],
        total_steps=100,
        title="test",
    )


@pytest.mark.parametrize("domains", [1, 8, 19, 26])
@pytest.mark.parametrize("rows", [1, 2, 11])
def test_frames_are_pixels_of_the_size_asked_for(domains: int, rows: int) -> None:
    frame = episode_frame(history(domains, rows), (640, 400))
    assert frame.shape == (400, 640, 3) and frame.dtype == np.uint8
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 20


def test_the_river_shows_each_domain_in_its_colour() -> None:
    frame = episode_frame(history(8, 11), (1280, 720))
    river = frame[80:345, 60:1000].reshape(-1, 3)
    for colour in domain_colours(8):
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (river == rgb).all(axis=1).any()


def test_frames_are_the_same_every_time_and_fresh() -> None:
    one, two = episode_frame(history(3, 4), (640, 400)), episode_frame(history(3, 4), (640, 400))
    assert np.array_equal(one, two) and one is not two
    one[:] = 0
    assert two.any()


def test_frames_do_not_load_pyplot_or_change_settings() -> None:
    # Reading rcParams["backend"] would load pyplot by itself.
    code = (
        "import sys, matplotlib, numpy as np\n"
        "params = matplotlib.rcParams\n"
        "settings = lambda: {k: params[k] for k in params if not k.startswith('backend')}\n"
        "before = settings()\n"
        "from mixgym.plotting.episode import *\n"
        "episode_frame(EpisodeHistory(['a'], [0], [np.ones(1)], [np.ones(1)], [1.0]), (480, 320))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert settings() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bad_histories_are_refused() -> None:
    uneven = history(3, 4)
    uneven.objective.pop()
    with pytest.raises(ValueError, match="lengths"):
        episode_frame(uneven)
    with pytest.raises(ValueError, match="too small"):
        episode_frame(history(3, 4), (100, 100))


def test_nineteen_domains_have_nineteen_colours() -> None:
    assert len(set(DOMAINS)) == len(DOMAINS) >= 22


def test_spread_keeps_order_gap_and_range() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        positions = rng.uniform(0, 1, 8) ** 3
        placed = spread(positions, 0.1, 0.0, 1.0)
        assert (np.diff(np.sort(placed)) >= 0.1 - 1e-9).all()
        assert placed.min() >= -1e-9 and placed.max() <= 1 + 1e-9
        assert (np.argsort(placed, kind="stable") == np.argsort(positions, kind="stable")).all()


def test_spread_leaves_what_fits_alone() -> None:
    positions = np.array([0.1, 0.5, 0.9])
    assert np.allclose(spread(positions, 0.2, 0.0, 1.0), positions)


def test_mean_curve_uses_the_steps_all_seeds_share() -> None:
    steps, losses = mean_curve(
        {
            0: (np.array([0.0, 10.0, 20.0]), np.array([4.0, 2.0, 1.0])),
            1: (np.array([0.0, 20.0]), np.array([6.0, 2.0])),
        }
    )
    assert steps.tolist() == [0.0, 20.0] and losses.tolist() == [5.0, 1.5]


def test_comparison_figures_draw() -> None:
    steps = np.arange(0.0, 50.0, 10.0)
    arms = {a: {s: (steps, 5.0 - steps / 20 + s) for s in range(2)} for a in ("a", "b")}
    domains = {
        a: {s: (x, np.stack([y, np.full(5, np.nan)], axis=1)) for s, (x, y) in seeds.items()}
        for a, seeds in arms.items()
    }
    mixtures = np.full((5, 2), 0.5)
    for figure in (
        curves_figure(arms, "a", "title"),
        losses_figure(domains, ["x", "y"], "a"),
        rivers_figure([("a", steps, mixtures)], ["x", "y"]),
        forest_figure([ForestRow("b", np.array([0.1]), 0.1, np.nan, np.nan)], "a", "title"),
        balance_figure(
            [BalancePoint("a", 0.0, 1.0), BalancePoint("b", -0.1, 1.1, 0.1, 0.2)], "a", "t"
        ),
    ):
        assert pixels(figure).std() > 5


def test_a_river_of_many_domains_names_those_with_most() -> None:
    weights = np.arange(1.0, 31.0) / np.arange(1.0, 31.0).sum()
    names = [f"domain {k}" for k in range(30)]
    figure = rivers_figure([("a", np.arange(3.0), np.tile(weights, (3, 1)))], names)
    named = {text.get_text() for text in figure.axes[0].texts}
    assert named & set(names) == set(names[30 - NAMED :])


def test_episode_as_text() -> None:
    text = episode_text(history(8, 11))
    lines = text.splitlines()
    assert len(lines) == 9 and "step 100/100" in lines[0] and "4.0000" in lines[0]
    assert all(f"domain_{k}" in lines[k + 1] for k in range(8))
    assert "loss -" in episode_text(history(2, 1))


def test_trend_falls_with_the_loss() -> None:
    assert trend([5.0, 3.0, float("nan"), 1.0]) == "█▅▁"
