"""d3rlpy, imported without its side effects."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from functools import cache
from typing import Any

import torch

from mixgym.errors import missing_extra


@cache
def d3rlpy() -> Any:
    """Import d3rlpy.

    The legacy `gym` that it imports prints a banner, and d3rlpy configures structlog and, with a
    GPU, torch for the whole process: the banner is swallowed, the settings are put back.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import structlog
    except ImportError as error:
        raise missing_extra("d3rlpy", "offline", "learning from trajectories") from error
    configured = structlog.get_config() if structlog.is_configured() else None
    precision = torch.get_float32_matmul_precision()
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import d3rlpy as library
    except ImportError as error:
        raise missing_extra("d3rlpy", "offline", "learning from trajectories") from error
    torch.set_float32_matmul_precision(precision)
    if configured is not None:
        structlog.configure(**configured)
    else:
        quiet = structlog.make_filtering_bound_logger(logging.WARNING)
        structlog.configure(wrapper_class=quiet)
    return library
