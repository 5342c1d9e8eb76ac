"""Losses of C models at once: one model's code, mapped over stacked parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.func import functional_call, grad, grad_and_value, vmap
from torch.nn import functional

from mixgym.errors import MixgymError

Tensors = dict[str, torch.Tensor]


class BatchedModel:
    """C models of one architecture, as functions of their stacked parameters.

    Args:
        base: a model of the architecture; only its code and its buffers are used.
        autocast: returns a fresh context of a forward pass.
        tapped: names of modules whose inputs and output gradients `tapped_gradients` returns.

    Raises:
        MixgymError: a model with dropout.
    """

    def __init__(
        self,
        base: torch.nn.Module,
        autocast: Callable[[], torch.autocast],
        tapped: Sequence[torch.nn.Module] = (),
    ) -> None:
        _check_dropout(base)
        # The processor's flash kernel has no batching rule.
        base.set_attn_implementation("eager")  # type: ignore[operator]
        self.base = base.train().requires_grad_(False)
        self._buffers = dict(base.named_buffers())
        self._autocast = autocast
        self._probes: Sequence[torch.Tensor] | None = None
        self._inputs: list[torch.Tensor] = []
        for index, module in enumerate(tapped):
            module.register_forward_hook(self._tap(index))
        self.gradients = vmap(grad_and_value(self._loss, has_aux=True))
        self._tapped = vmap(grad_and_value(self._tapped_loss, argnums=(0, 3), has_aux=True))
        self.losses = vmap(self._sequence_losses, in_dims=(0, None))
        self._mean_gradients = vmap(grad(self._mean_loss), in_dims=(0, 0, None))

    def _tap(self, index: int) -> Callable[..., torch.Tensor | None]:
        def hook(module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor | None:
            if self._probes is None:
                return None
            self._inputs.append(args[0])
            # The gradient in what is added is the gradient in the output.
            return output + self._probes[index].to(output.dtype)

        return hook

    def _sequence_losses(self, parameters: Tensors, windows: torch.Tensor) -> torch.Tensor:
        """Return the (B,) mean losses, nats a token, of one model on (B, context + 1) windows."""
        with self._autocast():
            logits = functional_call(
                self.base,
                (parameters, self._buffers),
                kwargs={"input_ids": windows[:, :-1], "use_cache": False},
            ).logits
        log_p = functional.log_softmax(logits.float().flatten(0, 1), dim=-1)
        del logits
        loss = -log_p.gather(1, windows[:, 1:].flatten()[:, None])
        return loss.view(len(windows), -1).mean(dim=1)

    def _loss(
        self, parameters: Tensors, windows: torch.Tensor, shares: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        losses = self._sequence_losses(parameters, windows)
        return (losses * shares).sum(), losses.detach()

    def _tapped_loss(
        self,
        parameters: Tensors,
        windows: torch.Tensor,
        shares: torch.Tensor,
        probes: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, list[torch.Tensor]]]:
        self._probes, self._inputs = probes, []
        try:
            loss, losses = self._loss(parameters, windows, shares)
            return loss, (losses, [x.detach() for x in self._inputs])
        finally:
            self._probes, self._inputs = None, []

    def tapped_gradients(
        self,
        parameters: Tensors,
        windows: torch.Tensor,
        shares: torch.Tensor,
        sizes: Sequence[int],
    ) -> tuple[Tensors, torch.Tensor, Sequence[torch.Tensor], Sequence[torch.Tensor]]:
        """Return the gradients, the losses, and each tapped module's inputs and output gradients.

        Args:
            parameters: (C, ...) by name.
            windows: (C, B, context + 1).
            shares: (C, B) weight of each sequence's mean loss.
            sizes: width of each tapped module's output.

        Returns:
            gradients by name; (C, B) losses; of each module (C, B, context, in) inputs and
            (C, B, context, out) gradients of the loss in its output.
        """
        C, B, length = windows.shape
        probes = tuple(torch.zeros(C, B, length - 1, size, device=windows.device) for size in sizes)
        gradients, (_, (losses, inputs)) = self._tapped(parameters, windows, shares, probes)
        return gradients[0], losses, inputs, gradients[1]

    def _mean_loss(self, chosen: Tensors, others: Tensors, windows: torch.Tensor) -> torch.Tensor:
        return self._sequence_losses({**others, **chosen}, windows).mean()

    def mean_gradients(
        self, parameters: Mapping[str, torch.Tensor], chosen: Sequence[str], windows: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the (C, ...) gradients, in the `chosen` parameters, of the mean loss on windows.

        Args:
            parameters: (C, ...) by name.
            chosen: names.
            windows: (n, context + 1), the same for all.
        """
        picked = {name: parameters[name] for name in chosen}
        others = {name: value for name, value in parameters.items() if name not in picked}
        found = self._mean_gradients(picked, others, windows)
        return [found[name] for name in chosen]


def sequence_shares(
    domains: NDArray[np.int64],
    loss_weights: ArrayLike | None,
    runs: NDArray[np.int64],
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Return the (R, n, B) weights of sequences' losses, which sum to one over a step.

    Args:
        domains: (R, n, B) of the sequences.
        loss_weights: (N, K) positive weights of the domains; None for a plain mean.
        runs: (R,) which runs the sequences are of.
        shape: N, K.

    Raises:
        ValueError: weights of another shape, or that are not positive where they count.
    """
    if loss_weights is None:
        return np.full(domains.shape, 1.0 / domains.shape[-1], dtype=np.float32)
    weights = np.asarray(loss_weights, dtype=np.float64)
    if weights.shape != shape:
        raise ValueError(f"loss_weights must have shape {shape}, got {weights.shape}")
    chosen = weights[runs[:, None, None], domains]
    if not (np.isfinite(chosen) & (chosen > 0)).all():
        raise ValueError(
            "loss_weights must be positive and finite for every domain that is sampled: give a "
            "domain no weight in the mixture instead"
        )
    return (chosen / chosen.sum(axis=-1, keepdims=True)).astype(np.float32)


def _check_dropout(model: torch.nn.Module) -> None:
    for path, module in model.named_modules():
        values = {k: v for k, v in vars(module).items() if "drop" in k}
        if isinstance(module, torch.nn.Dropout):
            values["p"] = module.p
        for name, value in values.items():
            if isinstance(value, float) and value > 0:
                raise MixgymError(
                    f"batched runs have no dropout, the model has {path}.{name}={value}: set it "
                    "to 0 in its configuration, or train the runs one by one"
                )
