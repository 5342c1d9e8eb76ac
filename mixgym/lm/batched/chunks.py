"""How many runs are trained at a time, so that they fit the memory."""

from __future__ import annotations

from collections.abc import Callable

import torch

#: On the CPU, where a larger chunk gains nothing and leaves the cache sooner.
CPU_CHUNK = 8
#: Share of the free memory that a chunk may take.
_SHARE = 0.7
_PROBES = (2, 4)


def resolve_chunk(chunk: int | None, N: int, device: str, work: Callable[[int], None]) -> int:
    """Return the number of runs to train at a time.

    Args:
        chunk: what was asked for; None for as many as fit.
        N: number of runs.
        device: where they are.
        work: takes a step of so many runs on scratch memory. On an accelerator it is measured
            with a few runs, and the chunk is what the free memory then holds.
    """
    if chunk is not None:
        return min(chunk, N)
    if torch.device(device).type != "cuda":
        return min(CPU_CHUNK, N)
    peaks = []
    for number in _PROBES:
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work(number)
        torch.cuda.synchronize(device)
        peaks.append(torch.cuda.max_memory_allocated(device) - before)
    each = max(1, (peaks[1] - peaks[0]) // (_PROBES[1] - _PROBES[0]))
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    fits = max(1, int(_SHARE * free) // each)
    # Chunks of one size: the last is not a small rest.
    return -(-N // -(-N // fits))
