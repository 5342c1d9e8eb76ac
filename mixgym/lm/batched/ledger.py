"""The ledgers of N runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.ledger import ACCOUNTS, Account, Ledger


class BatchedLedger:
    """Accounts of N runs: each pays the tokens and FLOPs of a single run; seconds are shared.

    Attributes:
        tokens: (N, accounts) int64.
        flops, seconds: (N, accounts) float64.
    """

    def __init__(self, N: int) -> None:
        self.tokens = np.zeros((N, len(ACCOUNTS)), dtype=np.int64)
        self.flops = np.zeros((N, len(ACCOUNTS)))
        self.seconds = np.zeros((N, len(ACCOUNTS)))

    def charge(
        self,
        account: str,
        runs: NDArray[np.int64],
        *,
        tokens: int | NDArray[np.float64] = 0,
        flops: float | NDArray[np.float64] = 0.0,
        seconds: float = 0.0,
    ) -> None:
        """Add `tokens` and `flops` to an account of each of `runs`, and a share of `seconds`."""
        place = ACCOUNTS.index(account)
        self.tokens[runs, place] += np.asarray(tokens, dtype=np.int64)
        self.flops[runs, place] += flops
        self.seconds[runs, place] += seconds / max(len(runs), 1)

    def clear(self, runs: NDArray[np.int64]) -> None:
        """Begin anew for `runs`."""
        for totals in (self.tokens, self.flops, self.seconds):
            totals[runs] = 0

    def __getitem__(self, i: int) -> Ledger:
        rows = zip(self.tokens[i], self.flops[i], self.seconds[i], strict=True)
        accounts = [Account(int(t), float(f), float(s)) for t, f, s in rows]
        return Ledger(dict(zip(ACCOUNTS, accounts, strict=True)))

    def total(self) -> Ledger:
        """Return the sum of all runs' accounts."""
        whole = Ledger()
        for place, account in enumerate(ACCOUNTS):
            whole.charge(
                account,
                tokens=int(self.tokens[:, place].sum()),
                flops=float(self.flops[:, place].sum()),
                seconds=float(self.seconds[:, place].sum()),
            )
        return whole

    def to_json(self) -> dict[str, Any]:
        """Return the accounts as plain numbers."""
        return {
            "tokens": self.tokens.tolist(),
            "flops": self.flops.tolist(),
            "seconds": self.seconds.tolist(),
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> BatchedLedger:
        """Inverse of `to_json`."""
        ledger = cls(len(plain["tokens"]))
        ledger.tokens = np.array(plain["tokens"], dtype=np.int64)
        ledger.flops = np.array(plain["flops"], dtype=np.float64)
        ledger.seconds = np.array(plain["seconds"], dtype=np.float64)
        return ledger
