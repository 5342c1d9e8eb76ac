import json

import numpy as np

from mixgym.corpus import Corpus
from mixgym.ledger import Ledger
from mixgym.lm.training import TrainingRun
from mixgym.signals import Signals


def test_signals_survive_json_bit_for_bit(two_domains: Corpus) -> None:
    run = TrainingRun(two_domains, "nano", total_steps=4)
    signals = run.advance([1.0, 0.0], 2)
    again = Signals.from_json(json.loads(json.dumps(signals.to_json())))
    for name, value in vars(signals).items():
        np.testing.assert_array_equal(getattr(again, name), value, err_msg=name)
        assert getattr(getattr(again, name), "dtype", None) == getattr(value, "dtype", None)


def test_ledger_adds_up_and_survives_json() -> None:
    ledger = Ledger()
    ledger.charge("proxy", tokens=3, flops=2.0)
    ledger.charge("proxy", tokens=4, seconds=1.0)
    with ledger.timed("agent"):
        pass
    again = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
    assert again == ledger
    assert again.accounts["proxy"].tokens == 7
    assert ledger.accounts["agent"].seconds > 0
