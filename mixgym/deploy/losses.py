"""The causal language-model loss, with every sequence's own value beside it."""

from __future__ import annotations

import torch
from torch.nn import functional

_IGNORED = -100


def causal_lm_loss(
    logits: torch.Tensor, labels: torch.Tensor, items: torch.Tensor | int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the loss that `transformers` models compute, and what it is computed from.

    The loss is bit for bit that of a causal model called with `labels`: the sum over predicted
    tokens divided by `items` (their mean without it).

    Args:
        logits: (B, T, V); position t predicts token t + 1.
        labels: (B, T) tokens; -100 is not predicted.
        items: predicted tokens of the whole optimiser step.

    Returns:
        A scalar, (B * T, V) float32 log-probabilities, and (B * T,) tokens they should predict:
        -100 for none, as after a sequence's last.
    """
    targets = functional.pad(labels, (0, 1), value=_IGNORED)[..., 1:].flatten().to(logits.device)
    log_p = functional.log_softmax(logits.float().view(-1, logits.shape[-1]), dim=-1)
    if items is None:
        return functional.nll_loss(log_p, targets, ignore_index=_IGNORED), log_p, targets
    if torch.is_tensor(items):
        items = items.to(logits.device)
    total = functional.nll_loss(log_p, targets, ignore_index=_IGNORED, reduction="sum")
    return total / items, log_p, targets


def token_losses(log_p: torch.Tensor, targets: torch.Tensor, sequences: int) -> torch.Tensor:
    """Return (B, T) nats of every token apart from the graph, 0 where nothing is predicted.

    Args:
        log_p, targets: of `causal_lm_loss`.
        sequences: B.
    """
    losses = functional.nll_loss(log_p.detach(), targets, ignore_index=_IGNORED, reduction="none")
    return losses.view(sequences, -1)


def sequence_losses(losses: torch.Tensor) -> torch.Tensor:
    """Return each sequence's mean loss, (B,) nats per token.

    Args:
        losses: of `token_losses`; every token is predicted but a sequence's first.
    """
    return losses[:, :-1].mean(dim=1)
