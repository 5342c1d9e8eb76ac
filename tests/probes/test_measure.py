from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mixgym.corpus import Corpus
from mixgym.corpus.tokenizers import BytesTokenizer
from mixgym.lm.settings import PRESETS
from mixgym.lm.training import TrainingRun
from mixgym.probes import PROBES, Item, Probe
from mixgym.probes.encoding import EncodedProbe, encode_probe, pieces
from mixgym.probes.measure import continuation_scores, measure, result_of


@pytest.fixture
def run(two_domains: Corpus) -> TrainingRun:
    settings = PRESETS["nano"].settings.updated({"context": 16, "batch_size": 4})
    return TrainingRun(two_domains, "nano", total_steps=20, seed=3, settings=settings)


@pytest.mark.parametrize(
    ("before", "answer"), [(1, 3), (1, 16), (5, 11), (40, 8), (40, 9), (2, 50), (30, 33), (1, 1)]
)
def test_pieces_predict_every_token_of_the_answer_once(before: int, answer: int) -> None:
    context = 16
    sequence = np.arange(before + answer)
    scored: list[int] = []
    for window, n in pieces(sequence[:before], sequence[before:], context):
        assert n < len(window) <= context + 1
        np.testing.assert_array_equal(window, np.arange(window[0], window[0] + len(window)))
        scored += window[-n:].tolist()
        # The first token that counts has at least half a context before it, or all there is.
        assert len(window) - n >= min(context // 2, window[-n])
    assert scored == list(range(before, before + answer))


def by_hand(run: TrainingRun, context: str, answer: str) -> float:
    """Sum of the log-probabilities of the answer's bytes, a window at a time, in numpy."""
    before = np.frombuffer(b"\0" + context.encode(), dtype=np.uint8)
    coded = np.frombuffer(answer.encode(), dtype=np.uint8)
    total = 0.0
    for window, n in pieces(before, coded, 16):
        with torch.inference_mode():
            logits = run.model(input_ids=torch.from_numpy(window[None, :-1])).logits[0].numpy()
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        total += float(log_p[np.arange(len(window) - 1), window[1:]][-n:].sum())
    return total


def test_scores_are_sums_of_log_probabilities_whatever_the_batch(run: TrainingRun) -> None:
    made = Probe(
        "scores",
        "",
        "",
        lambda: [
            Item("a", "How do you boil an egg, then?", (" In water.", " Not at all, so long."), 0),
            Item("b", "é", (" x", " yy"), 1),
            Item("c", "nothing", ("only this",), 0),
        ],
        lambda: [],
    )
    encoded = encode_probe(made, "feedback", BytesTokenizer(), 16)
    run.model.eval()
    scores = continuation_scores(run.model, encoded, run.autocast())
    asked = made.items("feedback")
    assert len(asked) == 3
    expected = [by_hand(run, item.context, c) for item in asked for c in item.continuations]
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_results_follow_from_scores_by_hand() -> None:
    # Three items: two choices (right wins), four (right loses), two (right wins only by byte).
    encoded = EncodedProbe(
        "made",
        "report",
        (),
        item=np.array([0, 0, 1, 1, 1, 1, 2, 2]),
        gold=np.array([True, False, False, True, False, False, True, False]),
        tokens=np.array([2, 2, 1, 4, 1, 1, 5, 1]),
        bytes=np.array([4, 4, 2, 8, 2, 2, 10, 1]),
        choice=True,
    )
    scores = np.array([-1.0, -3.0, -2.0, -8.0, -9.0, -9.0, -5.0, -4.0])
    found = result_of(encoded, scores)
    each = np.array([-1 / 2, -8 / 4, -5 / 5])
    bits = np.array([1 / 4, 8 / 8, 5 / 10]) / math.log(2)
    assert found.items == 3
    assert found.log_probability == pytest.approx(each.mean())
    assert found.log_probability_error == pytest.approx(each.std(ddof=1) / math.sqrt(3))
    assert found.bits_per_byte == pytest.approx(bits.mean())
    assert found.bits_per_byte_error == pytest.approx(bits.std(ddof=1) / math.sqrt(3))
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.accuracy_per_byte == pytest.approx(2 / 3)
    assert found.accuracy_error == pytest.approx(math.sqrt(1 / 3 * 2 / 3 / 3))
    assert found.chance == pytest.approx((1 / 2 + 1 / 4 + 1 / 2) / 3)


def test_measuring_charges_the_account_and_changes_nothing(run: TrainingRun) -> None:
    run.advance([0.5, 0.5], 2)
    twin = run.fork()
    first = measure(run, ["gsm8k", "sciq"], "feedback", items=4, account="reward")
    again = measure(run, ["gsm8k", "sciq"], "feedback", items=4, account="agent")
    assert first == again and list(first) == ["gsm8k", "sciq"]
    reward = run.ledger.accounts["reward"]
    assert reward.tokens == run.ledger.accounts["agent"].tokens > 0
    assert reward.flops == 2 * run.n_parameters * reward.tokens
    assert run.ledger.accounts["evaluation"].tokens == 0
    assert math.isnan(first["gsm8k"].accuracy) and first["gsm8k"].to_json()["accuracy"] is None
    assert first["sciq"].chance == 0.25
    assert first["gsm8k"].bits_per_byte == pytest.approx(
        -first["gsm8k"].log_probability / math.log(2)
    )
    a, b = run.advance([0.3, 0.7], 2), twin.advance([0.3, 0.7], 2)
    np.testing.assert_array_equal(a.train_loss, b.train_loss)


def test_without_choices_only_right_answers_are_scored(run: TrainingRun) -> None:
    gold = measure(run, ["sciq"], "feedback", items=4, choices=False)["sciq"]
    tokens = run.ledger.accounts["evaluation"].tokens
    both = measure(run, ["sciq"], "feedback", items=4)["sciq"]
    assert gold.log_probability == pytest.approx(both.log_probability, rel=1e-5)
    assert math.isnan(gold.accuracy) and not math.isnan(both.accuracy)
    assert run.ledger.accounts["evaluation"].tokens > 3 * tokens


def test_encodings_are_kept(run: TrainingRun) -> None:
    arguments = (PROBES["gsm8k"], "report", run.corpus.tokenizer, 16)
    assert encode_probe(*arguments, limit=3) is encode_probe(*arguments, limit=3)
    assert encode_probe(*arguments, limit=3) is not encode_probe(*arguments, limit=4)


def test_training_on_an_answer_raises_its_log_probability(run: TrainingRun) -> None:
    text = "def main(): return None"
    item = Item("a", "# the program\n", (text,), 0)
    asked = Probe("made", "", "", lambda: [item], lambda: [], choice=False)
    encoded = encode_probe(asked, "feedback", BytesTokenizer(), 16)
    optimiser = torch.optim.Adam(run.model.parameters(), lr=1e-2)
    before = result_of(encoded, continuation_scores(run.model, encoded, run.autocast()))
    for _ in range(20):
        for batch in encoded.batches:
            ids = torch.from_numpy(batch.tokens)
            logits = run.model(input_ids=ids[:, :-1]).logits
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimiser.step()
        optimiser.zero_grad()
    after = result_of(encoded, continuation_scores(run.model, encoded, run.autocast()))
    assert after.log_probability > before.log_probability + 1
