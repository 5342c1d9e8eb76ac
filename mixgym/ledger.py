"""Cost accounts: nothing is trained, evaluated or differentiated off the books."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

ACCOUNTS: tuple[str, ...] = ("train", "reward", "evaluation", "proxy", "agent")


@dataclass
class Account:
    """Totals of one kind of work.

    Attributes:
        tokens: language-model tokens pushed through a forward pass.
        flops: floating-point operations by the usual estimate, 6 per parameter and token for
            training and 2 for a forward pass alone (attention's quadratic part left out).
        seconds: wall-clock seconds.
    """

    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0


@dataclass
class Ledger:
    """The accounts of one run.

    `train` is the controlled run's own training; `reward` the evaluations that signals and
    rewards asked for; `evaluation` those made for reports; `proxy` every proxy, reference or
    swarm run; `agent` the LM tokens spent to learn a policy.
    """

    accounts: dict[str, Account] = field(
        default_factory=lambda: {name: Account() for name in ACCOUNTS}
    )

    def charge(
        self, account: str, *, tokens: int = 0, flops: float = 0.0, seconds: float = 0.0
    ) -> None:
        """Add cost to an account (`KeyError` if there is no such account)."""
        entry = self.accounts[account]
        entry.tokens += int(tokens)
        entry.flops += float(flops)
        entry.seconds += float(seconds)

    @contextmanager
    def timed(self, account: str) -> Iterator[None]:
        """Charge the wall-clock seconds of a block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.charge(account, seconds=time.perf_counter() - start)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return the accounts as plain numbers."""
        return {name: asdict(account) for name, account in self.accounts.items()}

    @classmethod
    def from_json(cls, plain: dict[str, dict[str, Any]]) -> Ledger:
        """Inverse of `to_json`."""
        return cls({name: Account(**values) for name, values in plain.items()})
