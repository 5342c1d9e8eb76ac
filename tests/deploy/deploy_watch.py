"""What a controller's agent did and saw."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixgym.deploy import MixtureController
from mixgym.signals import Signals


class Seen:
    """Every action that a controller's agent gave, and all signals after them.

    Args:
        controller: before it trains.
    """

    def __init__(self, controller: MixtureController) -> None:
        self.actions: list[np.ndarray] = []
        self.signals: list[Signals] = []
        act, observe = controller.agent.act, controller.agent.observe

        def acting(*given: Any) -> Any:
            self.actions.append(np.array(act(*given), dtype=np.float32))
            return self.actions[-1]

        def observing(*given: Any) -> None:
            self.signals.append(controller.signals)
            observe(*given)

        controller.agent.act = acting  # type: ignore[method-assign]
        controller.agent.observe = observing  # type: ignore[method-assign]
