from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from mixgym.deploy.batches import LazyBatch, Ticket, TicketStream


def counting() -> tuple[LazyBatch, list[torch.device | None]]:
    calls: list[torch.device | None] = []

    def draw(device: torch.device | None) -> dict[str, torch.Tensor]:
        calls.append(device)
        return {"input_ids": torch.ones(2, 3), "labels": torch.zeros(2, 3)}

    return LazyBatch(draw), calls


def test_nothing_is_drawn_by_what_a_data_loader_does() -> None:
    batch, calls = counting()
    assert batch.pin_memory() is batch
    assert batch.to("cpu", non_blocking=True) is batch
    assert "labels" in batch and "domain" not in batch
    assert list(batch) == ["input_ids", "labels"] and len(batch) == 2
    assert calls == [] and not batch.drawn


def test_the_first_look_draws_once_and_on_the_device() -> None:
    batch, calls = counting()
    batch.to("cpu")
    assert batch["labels"].sum() == 0 and batch["input_ids"].sum() == 6
    assert dict(**batch).keys() == {"input_ids", "labels"}
    assert calls == [torch.device("cpu")]


def test_a_drawn_batch_is_a_mapping_like_any_other() -> None:
    batch, calls = counting()
    copied = type(batch)({key: value.to("cpu") for key, value in batch.items()})
    assert copied.pop("labels").shape == (2, 3)
    copied["more"] = 1
    assert set(copied) == {"input_ids", "more"} and len(copied) == 2
    assert len(calls) == 1 and "labels" in batch
    with pytest.raises(KeyError):
        copied["labels"]


def test_a_loader_may_run_ahead_without_drawing() -> None:
    drawn: list[int] = []

    def collate(tickets: list[Ticket]) -> LazyBatch:
        def draw(device: torch.device | None) -> dict[str, torch.Tensor]:
            drawn.append(len(tickets))
            return {key: torch.zeros(1) for key in LazyBatch.KEYS}

        return LazyBatch(draw)

    loader = iter(DataLoader(TicketStream(), batch_size=3, collate_fn=collate))
    batches = [next(loader) for _ in range(4)]
    assert drawn == []
    dict(batches[0].items())
    assert drawn == [3]
