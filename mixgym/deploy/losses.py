"""The causal language-model loss, with every sequence's own value beside it."""

from __future__ import annotations

import torch
from torch.nn import functional

_IGNORED = -100


def causal_lm_loss(
    logits: torch.Tensor, labels: torch.Tensor, items: torch.Tensor | int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss that `transformers` models compute, and each sequence's mean loss.

    The first is bit for bit that of a causal model called with `labels`: the sum over predicted
    tokens divided by `items` (their mean without it). The second is read off the same
    log-probabilities, apart from the graph: no other forward pass.

    Args:
        logits: (B, T, V); position t predicts token t + 1.
        labels: (B, T) tokens; -100 is not predicted.
        items: predicted tokens of the whole optimiser step.

    Returns:
        A scalar, and (B,) float32 nats per token, detached; NaN for a sequence without tokens.
    """
    targets = functional.pad(labels, (0, 1), value=_IGNORED)[..., 1:].contiguous()
    targets = targets.to(logits.device)
    log_p = functional.log_softmax(logits.float().view(-1, logits.shape[-1]), dim=-1)
    flat = targets.view(-1)
    if items is None:
        loss = functional.nll_loss(log_p, flat, ignore_index=_IGNORED)
    else:
        if torch.is_tensor(items):
            items = items.to(logits.device)
        loss = functional.nll_loss(log_p, flat, ignore_index=_IGNORED, reduction="sum") / items
    predicted = targets != _IGNORED
    picked = log_p.detach().gather(1, flat.clamp(min=0)[:, None]).view_as(targets)
    # The last position of a row predicts nothing.
    sums = torch.where(predicted, -picked, 0.0)[:, :-1].sum(dim=1)
    return loss, sums / predicted[:, :-1].sum(dim=1)
