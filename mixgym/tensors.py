"""Reading tensors from files, checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mixgym.errors import DamagedFileError
from mixgym.files import read_bytes

if TYPE_CHECKING:
    import torch


def read_tensors(
    path: str | os.PathLike[str],
    like: Mapping[str, torch.Tensor] | None = None,
    *,
    sha256: str | None = None,
    finite: bool = False,
    remedy: str = "restore the file",
) -> dict[str, torch.Tensor]:
    """Read a safetensors file that mixgym wrote.

    Args:
        path: the file.
        like: tensors (of any device, `meta` too) whose names, shapes and dtypes the file's must
            have, no more and no fewer; None for any.
        sha256: what the file's bytes hash to, if that is known.
        finite: whether NaN and infinities are damage.
        remedy: what the user should do about a damaged file.

    Raises:
        DamagedFileError: the message names the file, the fault and the remedy.
        MissingFileError, UnreadableFileError: it cannot be read; both are DamagedFileErrors too.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = read_bytes(path, remedy=remedy)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedFileError(f"{path} does not have the content that was saved: {remedy}")
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFileError(f"{path} is not a file of tensors ({error}): {remedy}") from error
    if like is not None:
        _check(path, tensors, like, remedy)
    for name, tensor in tensors.items():
        number = tensor.is_floating_point() or tensor.is_complex()
        if finite and number and not bool(tensor.isfinite().all()):
            raise DamagedFileError(f"{path}: tensor {name!r} holds NaN or infinity: {remedy}")
    return tensors


def _check(
    path: object, tensors: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor], remedy: str
) -> None:
    for name in sorted(like.keys() - tensors.keys()):
        raise DamagedFileError(f"{path} lacks the tensor {name!r}: {remedy}")
    for name in sorted(tensors.keys() - like.keys()):
        raise DamagedFileError(f"{path} has a tensor {name!r} that does not belong there: {remedy}")
    for name, tensor in tensors.items():
        ours, its = (tuple(like[name].shape), like[name].dtype), (tuple(tensor.shape), tensor.dtype)
        if ours != its:
            raise DamagedFileError(
                f"{path}: tensor {name!r} is {its[1]} {its[0]}, not {ours[1]} {ours[0]}: {remedy}"
            )
