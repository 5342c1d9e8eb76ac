from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from mixgym.errors import DamagedFileError, MissingFileError
from mixgym.tensors import read_tensors

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "step": torch.tensor([4])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "state.safetensors"
    file.write_bytes(save(TENSORS))
    return file


def refusal(path: Path, **given: object) -> str:
    """The message of `read_tensors`, which must name the file and the remedy."""
    with pytest.raises(DamagedFileError) as caught:
        read_tensors(path, remedy="train again", **given)  # pyright: ignore[reportArgumentType]
    text = str(caught.value)
    assert str(path) in text and "train again" in text
    return text


def test_what_was_written_is_read(path: Path) -> None:
    like = {name: tensor.to("meta") for name, tensor in TENSORS.items()}
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    read = read_tensors(path, like, sha256=sha256, finite=True)
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight": None}, "lacks the tensor 'weight'"),
        ({"other": torch.ones(1)}, "has a tensor 'other' that does not belong"),
        ({"weight": torch.ones(3, 2)}, r"'weight' is torch.float32 (3, 2), not torch.float32"),
        ({"weight": torch.ones(2, 3).double()}, "is torch.float64 (2, 3), not torch.float32"),
        ({"step": torch.tensor([4.0])}, "'step' is torch.float32 (1,), not torch.int64 (1,)"),
    ],
)
def test_names_shapes_and_dtypes(path: Path, change: dict, said: str) -> None:
    changed = {k: v for k, v in {**TENSORS, **change}.items() if v is not None}
    path.write_bytes(save(changed))
    assert said in refusal(path, like=TENSORS)
    read_tensors(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_numbers_that_are_not_finite(path: Path, bad: float, dtype: torch.dtype) -> None:
    path.write_bytes(save({"a": torch.ones(3), "b": torch.tensor([1.0, bad], dtype=dtype)}))
    assert "tensor 'b' holds NaN or infinity" in refusal(path, finite=True)
    read_tensors(path)


def test_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    sha256 = hashlib.sha256(content).hexdigest()
    content[-1] ^= 1
    path.write_bytes(content)
    assert "does not have the content that was saved" in refusal(path, sha256=sha256)


def _header(header: bytes, data: bytes = b"\0" * 4) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b"\xff" * 100,
        _header(b"[" * 9999 + b"]" * 9999),
        _header(b"[]"),
        _header(json.dumps({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}).encode()),
        _header(json.dumps({"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}).encode()),
        _header(json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}).encode()),
        _header(b"{}"),
        save(TENSORS)[:-3],
        save(TENSORS)[:60],
    ],
)
def test_what_is_no_file_of_tensors(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "is not a file of tensors" in refusal(path)


def test_empty_missing_and_folder(path: Path) -> None:
    path.write_bytes(b"")
    assert "is empty" in refusal(path)
    path.unlink()
    with pytest.raises(MissingFileError, match=r"state\.safetensors does not exist: train again"):
        read_tensors(path, remedy="train again")
    path.mkdir()
    assert "is a folder" in refusal(path)
