"""An episode as text: what the environments show for `render_mode="ansi"`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixgym.plotting.history import EpisodeHistory

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
_WIDTH = 24
_TREND = 32


def episode_text(history: EpisodeHistory) -> str:
    """Draw the latest decision as plain Unicode lines: step and objective, then a bar a domain.

    Each domain's line has its share of the mixture and its training loss (nats a byte, "-" before
    its first sample); the trend of the objective so far is in the first line.
    """
    width = max(len(name) for name in history.names)
    objective = history.objective[-1]
    shown = f"{objective:.4f}" if math.isfinite(objective) else "not measured"
    lines = [
        f"{history.title}  step {history.steps[-1]}/{history.total_steps}  "
        f"objective {shown} nats/byte  {trend(history.objective)}".rstrip()
    ]
    for name, share, loss in zip(
        history.names, history.mixtures[-1], history.train_losses[-1], strict=True
    ):
        value = f"{loss:.3f}" if math.isfinite(loss) else "-"
        lines.append(f"{name:<{width}}  {bar(float(share))} {share:6.1%}  loss {value}")
    return "\n".join(lines) + "\n"


def bar(share: float, width: int = _WIDTH) -> str:
    """A bar of `width` characters, filled to `share` (0 to 1) in eighths of a character.

    >>> bar(0.5, 4)
    '██  '
    """
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)


def trend(values: list[float]) -> str:
    """The last values as a line of blocks, highest value tallest; values not measured left out."""
    finite = [value for value in values if math.isfinite(value)][-_TREND:]
    if len(finite) < 2:
        return ""
    low, high = min(finite), max(finite)
    top = len(_LEVELS) - 1
    return "".join(
        _LEVELS[round(top * (value - low) / (high - low)) if high > low else 0] for value in finite
    )
