"""N training runs of one architecture at once."""

from mixgym.lm.batched.run import BatchedRun
from mixgym.lm.batched.signals import BatchedSignals
from mixgym.lm.batched.stream import BatchedStream

__all__ = ["BatchedRun", "BatchedSignals", "BatchedStream"]
