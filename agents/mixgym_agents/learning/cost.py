"""What learning a policy cost, so that a run driven by the policy can answer for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Language-model tokens, FLOPs and wall-clock seconds; of all ledger accounts together."""

    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.tokens + other.tokens, self.flops + other.flops, self.seconds + other.seconds
        )

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.tokens - other.tokens, self.flops - other.flops, self.seconds - other.seconds
        )

    def charge(self, env: Any) -> Cost:
        """Charge this to the `agent` account of an environment's ledger and return it.

        An environment without a ledger (a toy, a surrogate) is charged nothing.
        """
        ledger = getattr(env.unwrapped, "ledger", None)
        if ledger is None:
            return Cost()
        ledger.charge("agent", **asdict(self))
        return self

    @classmethod
    def spent(cls, env: Any) -> Cost:
        """What the current run of an environment has cost so far."""
        ledger = getattr(env.unwrapped, "ledger", None)
        accounts = [] if ledger is None else ledger.accounts.values()
        return cls(
            sum(account.tokens for account in accounts),
            float(sum(account.flops for account in accounts)),
            float(sum(account.seconds for account in accounts)),
        )


def costs_to_json(earlier: Cost, spent: Cost, charged: Cost) -> dict[str, dict[str, Any]]:
    """Return what learning has cost as a policy's scalars, JSON-plain.

    Args:
        earlier: of the runs before the current one.
        spent: of the current run so far, without `charged`.
        charged: what the current run's ledger was charged for the runs before it.

    Returns:
        `cost`, the total of `earlier` and `spent`, which a run driven by the policy answers for,
        and `current_run`, its parts, by which the current run can be resumed.
    """
    parts = {"earlier": earlier, "spent": spent, "charged": charged}
    return {
        "cost": asdict(earlier + spent),
        "current_run": {name: asdict(value) for name, value in parts.items()},
    }


def costs_from_json(scalars: Mapping[str, Any]) -> tuple[Cost, Cost, Cost]:
    """Inverse of `costs_to_json`: earlier, spent, charged.

    Of a policy without `current_run` (older ones) the whole cost is `earlier`.
    """
    if "current_run" not in scalars:
        return Cost(**scalars["cost"]), Cost(), Cost()
    parts = scalars["current_run"]
    return Cost(**parts["earlier"]), Cost(**parts["spent"]), Cost(**parts["charged"])
