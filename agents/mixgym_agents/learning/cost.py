"""What learning a policy cost, so that a run driven by the policy can answer for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NotRequired

from typing_extensions import TypedDict


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


class CostRecord(TypedDict):
    """A `Cost`."""

    tokens: int
    flops: float
    seconds: float


class RunRecord(TypedDict):
    """The parts of a `Tally`."""

    earlier: CostRecord
    spent: CostRecord
    charged: CostRecord


class TallyRecord(TypedDict):
    """A policy's scalars about its cost; older policies have no `current_run`."""

    cost: CostRecord
    current_run: NotRequired[RunRecord]


@dataclass
class Tally:
    """What learning has cost.

    Attributes:
        earlier: of the runs before the current one.
        spent: of the current run so far, without `charged`.
        charged: what the current run's ledger was charged for the runs before it.
    """

    earlier: Cost = Cost()
    spent: Cost = Cost()
    charged: Cost = Cost()

    @property
    def total(self) -> Cost:
        """What a run driven by the policy answers for."""
        return self.earlier + self.spent

    def begin(self, env: Any, charge: bool) -> None:
        """Begin a run of `env`, whose ledger answers for all before it if it is to `charge`."""
        self.earlier, self.spent, self.charged = self.total, Cost(), Cost()
        if charge:
            self.settle(env)

    def settle(self, env: Any) -> None:
        """Charge what the run's ledger has not been charged yet of what was before it."""
        due = self.earlier - self.charged
        if due != Cost():
            self.charged += due.charge(env)

    def measure(self, env: Any) -> None:
        """Read off the ledger what the current run has cost."""
        self.spent = Cost.spent(env) - self.charged

    def to_json(self) -> dict[str, Any]:
        """As a policy's scalars, JSON-plain: the total, and the parts to resume the run by."""
        return {"cost": asdict(self.total), "current_run": asdict(self)}

    @classmethod
    def from_json(cls, scalars: TallyRecord) -> Tally:
        """Inverse of `to_json`; of a policy without parts (older ones) all is `earlier`."""
        parts = scalars.get("current_run", {"earlier": scalars["cost"]})
        return cls(**{name: Cost(**part) for name, part in parts.items()})  # type: ignore[arg-type]
