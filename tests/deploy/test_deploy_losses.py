from __future__ import annotations

import numpy as np
import torch

from mixgym.deploy.losses import causal_lm_loss, sequence_losses, token_losses


def test_loss_and_gradient_are_the_models_own_bit_for_bit(model: torch.nn.Module) -> None:
    model.eval()
    tokens = torch.arange(4 * 16).view(4, 16) % 250
    labels = tokens.clone()
    labels[1, 5:9] = -100
    for items in (None, torch.tensor(93)):
        gradients = []
        for own in (False, True):
            model.zero_grad()
            if own:
                loss, *_ = causal_lm_loss(model(input_ids=tokens).logits, labels, items)
            else:
                loss = model(input_ids=tokens, labels=labels, num_items_in_batch=items).loss
            loss.backward()
            gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        for a, b in zip(*gradients, strict=True):
            assert torch.equal(a, b)


def test_each_sequences_mean_is_that_of_its_own_tokens() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 5, 7)).astype(np.float32)
    tokens = rng.integers(0, 7, size=(3, 5))
    expected = []
    for b in range(3):
        rows = logits[b, :4].astype(np.float64)
        terms = np.log(np.exp(rows).sum(axis=1)) - rows[np.arange(4), tokens[b, 1:]]
        expected.append(terms.mean())
    given = torch.from_numpy(logits).requires_grad_(), torch.from_numpy(tokens)
    loss, log_p, targets = causal_lm_loss(*given, 11)
    losses = sequence_losses(token_losses(log_p, targets, 3))
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(float(loss.detach()), 4 * sum(expected) / 11, rtol=1e-5)
    assert not losses.requires_grad
