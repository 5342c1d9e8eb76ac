from __future__ import annotations


def test_smoke(model, arguments, control, train):
    controller = control("odm-smoothed")
    train(model, arguments(gradient_accumulation_steps=2), controller)
    print(controller.signals)
    print(controller.ledger)
