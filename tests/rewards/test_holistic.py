"""HDS's reward terms against their equations in plain numpy, and inside an environment."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import mixgym  # noqa: F401
from mixgym.errors import UnknownNameError
from mixgym.rewards import REWARD_TERMS, RewardTerm
from mixgym.rewards.build import build_terms
from mixgym.rewards.diversity import Diversity
from mixgym.rewards.influence import Influence
from mixgym.rewards.stability import Stability
from mixgym.signals import Signals
from tests import tiny

NAN = np.nan
SHORT: dict[str, Any] = {
    "decisions": 3, "steps_per_decision": 2, "evaluation_windows": 2,
    "batch_size": 16, "context": 16, "action_map": "simplex",
}  # fmt: skip
signals = partial(tiny.unmeasured, K=3)
UNIFORM = np.full(8, 1 / 8, np.float32)
VARIANTS: dict[str, Any] = {
    f"{name}-{variant}": partial(term, variant=variant)
    for name, term, variants in (
        ("diversity", Diversity, ("mtld", "ttr", "released")),
        ("influence", Influence, ("loss", "alignment")),
        ("stability", Stability, ("relative", "released")),
    )
    for variant in variants
}


def make(**arguments: Any) -> Any:
    env_id = "mixgym/NanoPretrain-v0"
    return gym.make(env_id, disable_env_checker=True, **{**SHORT, **arguments}).unwrapped


def rewards(env: Any, mixtures: list[Any]) -> list[float]:
    return [env.step(np.asarray(m, np.float32))[1] for m in mixtures]


# --- diversity


def sampled(**values: Any) -> Signals:
    return signals(
        counts=[6.0, 2.0, 0.0],
        lexical_diversity=[51.0, 400.0, NAN],
        type_token_ratio=[0.5, 0.8, NAN],
        remaining=0.75,
        **values,
    )


def test_diversity_by_hand() -> None:
    # d = (49 / 98, 1); shares 3/4 and 1/4; a quarter of the budget is spent.
    reward = Diversity()
    assert reward(signals(), sampled()) == pytest.approx(0.25 * (0.75 * 0.5 + 0.25 * 1.0))
    assert reward.vector is not None
    np.testing.assert_allclose(reward.vector, [0.25 * 0.5, 0.25, 0.0])
    flat = Diversity(ramp=False, longest=492.0)
    assert flat(signals(), sampled()) == pytest.approx(0.75 * 49 / 490 + 0.25 * 398 / 490)


def test_the_type_token_ratio_and_the_released_sign() -> None:
    right = Diversity("ttr")(signals(), sampled())
    assert right == pytest.approx(0.25 * (0.75 * 0.5 + 0.25 * 0.8))
    released = Diversity("released")(signals(), sampled())
    assert released == pytest.approx(0.25 * (0.75 / (0.5 + 1e-8) + 0.25 / (0.8 + 1e-8)))
    poorer = replace(sampled(), type_token_ratio=np.array([0.1, 0.1, NAN], np.float32))
    assert Diversity("ttr")(signals(), poorer) < right
    assert Diversity("released")(signals(), poorer) > released


def test_the_sampled_text_is_measured_as_lexical_says(nano8: Any) -> None:
    from mixgym.lexical import mtld, type_token_ratio, words
    from mixgym.lm.training import TrainingRun

    mixture = np.array([0.5, 0.4, 0.1, *[0.0] * 5])
    run = TrainingRun(nano8, "nano", total_steps=5, text_sequences=4)
    start = run.signals()
    assert np.isnan(start.lexical_diversity).all() and start.lexical_diversity.shape == (8,)
    batches = list(run.stream.twin().batches(mixture, 5))
    after = run.advance(mixture, 5)
    tokens = np.concatenate([batch.tokens for batch in batches])
    domains = np.concatenate([batch.domains for batch in batches])
    for k in range(8):
        found: list[str] = []
        for window in tokens[domains == k][:4]:
            text = window.astype(np.uint8).tobytes().decode("utf-8", "replace")
            found += words(f"\0{text}\0")
        if k < 3:
            assert found
            assert after.lexical_diversity[k] == np.float32(mtld(found))
            assert after.type_token_ratio[k] == np.float32(type_token_ratio(found))
        else:
            assert np.isnan(after.lexical_diversity[k]) and np.isnan(after.type_token_ratio[k])


def test_the_text_is_measured_only_if_asked_and_is_on_the_ledger() -> None:
    cheap: dict[str, Any] = {"validation": "reward", "observation": "minimal"}
    plain = make(**cheap, reward="stability")
    asked = make(**cheap, reward={"diversity": {"sequences": 3}})
    for env in (plain, asked):
        env.reset(seed=0)
        env.step(UNIFORM)
    assert plain.run.text_sequences == 0 and plain.signals.lexical_diversity.size == 0
    assert asked.run.text_sequences == 3 and np.isfinite(asked.signals.lexical_diversity).any()
    account = asked.ledger.accounts["reward"]
    assert (account.tokens, account.flops) == (0, 0.0) and account.seconds > 0
    assert plain.ledger.accounts["reward"].seconds == 0
    np.testing.assert_array_equal(plain.signals.train_loss, asked.signals.train_loss)


def test_subword_tokens_give_words_too(tmp_path: Any) -> None:
    from mixgym.corpus.tokenizers import train_bpe
    from mixgym.lm.text import _text

    text = "one two three four five six seven eight nine ten " * 20
    path = tmp_path / "text"
    path.write_text(text)
    tokenizer = train_bpe("bpe-320", [path])
    ids = tokenizer.encode("wo three four fi").astype(np.int64)
    window = np.concatenate([ids, [tokenizer.separator], tokenizer.encode("ne one two th")])
    from mixgym.lexical import words

    # Words at a window's ends and at a document's end, which the decoder glues, are left out.
    assert words(_text(tokenizer, [window, window])) == ["three", "four", "one", "two"] * 2


def test_a_run_goes_on_with_its_text_after_a_checkpoint(tmp_path: Any, nano8: Any) -> None:
    from mixgym.lm.training import TrainingRun

    run = TrainingRun(nano8, "nano", total_steps=4, text_sequences=4)
    run.advance(nano8.natural, 2)
    run.save(tmp_path)
    twins = [TrainingRun.load(tmp_path, nano8), run.fork(), pickle.loads(pickle.dumps(run))]
    expected = run.advance(nano8.natural, 2).lexical_diversity
    assert np.isfinite(expected).any()
    for twin in twins:
        found = twin.advance(nano8.natural, 2).lexical_diversity
        np.testing.assert_array_equal(found, expected)


# --- influence


def ridge(history: list[tuple[Any, Any]], forgetting: float, lam: float) -> np.ndarray:
    """B by its normal equations, j by j: weighted least squares over j's own decisions."""
    K = len(history[0][0])
    effect = np.full((K, K), NAN)
    for j in range(K):
        own = [(np.asarray(s, float), y[j]) for s, y in history if np.isfinite(y[j])]
        if not own:
            continue
        ages = np.arange(len(own))[::-1]
        S, y = np.array([s for s, _ in own]), np.array([y for _, y in own])
        W = np.diag(forgetting**ages)
        effect[:, j] = np.linalg.inv(S.T @ W @ S + lam * np.eye(K)) @ S.T @ W @ y
    return effect


def decision(counts: Any, change: Any, mixture: Any = (0.5, 0.3, 0.2), **more: Any) -> Signals:
    return signals(
        counts=list(counts), validation_change=list(change), mixture=list(mixture), **more
    )


@pytest.mark.parametrize("forgetting", [0.5, 1.0])
@pytest.mark.parametrize("scalar", ["mixture", "mean"])
def test_the_influence_equation(forgetting: float, scalar: Any) -> None:
    rng = np.random.default_rng(1)
    reward = Influence(forgetting=forgetting, ridge=0.05, scalar=scalar)
    reward.reset(3)
    history: list[tuple[Any, Any]] = []
    for t in range(6):
        counts = np.round(16 * rng.dirichlet(np.ones(3)))
        change: Any = rng.normal(size=3).astype(np.float32)
        if t in (2, 4):
            change[t // 2] = NAN
        history.append((counts / counts.sum(), -change))
        value = reward(signals(), decision(counts, change))
        effect = ridge(history, forgetting, 0.05)
        expected = [np.mean([effect[i, j] for j in range(3) if j != i]) for i in range(3)]
        assert reward.vector is not None
        np.testing.assert_allclose(reward.vector, expected, rtol=1e-6, atol=1e-9)
        weights = [0.5, 0.3, 0.2] if scalar == "mixture" else [1 / 3] * 3
        assert value == pytest.approx(np.dot(np.array(weights, np.float32), expected), rel=1e-5)


def test_one_decision_of_influence_by_hand() -> None:
    # All sequences from domain 0: A = diag(1, 0, 0), b_j = (y_j, 0, 0), so B_0j = y_j / 1.25.
    reward = Influence(ridge=0.25)
    reward.reset(3)
    value = reward(signals(), decision([8, 0, 0], [-9.0, -0.5, 0.25], [1.0, 0.0, 0.0]))
    assert value == pytest.approx((0.5 - 0.25) / 2 / 1.25)
    assert reward.vector is not None
    np.testing.assert_allclose(reward.vector, [0.1, 0.0, 0.0])


def test_it_finds_who_helps_whom() -> None:
    # Domain 0 lowers the loss of 1, domain 1 that of nobody else, domain 2 harms both.
    truth = np.array([[0.3, 0.2, 0.0], [0.0, 0.4, 0.0], [-0.1, -0.2, 0.5]])
    rng = np.random.default_rng(0)
    reward = Influence(forgetting=0.99, ridge=1e-4)
    reward.reset(3)
    for _ in range(200):
        counts = rng.multinomial(64, rng.dirichlet(np.ones(3)))
        change = -(counts / 64) @ truth + rng.normal(scale=0.01, size=3)
        reward(signals(), decision(counts, change))
    assert reward.vector is not None
    np.testing.assert_allclose(reward.vector, [0.1, 0.0, -0.15], atol=0.02)


def test_training_losses_stand_in_where_validation_is_not_measured() -> None:
    reward = Influence(ridge=1.0)
    reward.reset(3)
    before = signals(train_loss=[3.0, NAN, 3.0])
    after = decision(
        [4, 4, 0], [NAN, NAN, NAN], train_loss=[2.5, 2.0, 3.0], train_loss_change=[-0.5, 0.0, 0.0]
    )
    reward(before, after)
    # Only domain 0 was sampled now and before: b_0 = s * 0.5, s = (1/2, 1/2, 0).
    s = np.array([0.5, 0.5, 0.0])
    effect = np.linalg.solve(np.outer(s, s) + np.eye(3), 0.5 * s)
    assert reward.vector is not None
    np.testing.assert_allclose(reward.vector, [0.0, effect[1], effect[2]])
    validated = replace(after, validation_change=np.array([-0.1, NAN, NAN], np.float32))
    reward.reset(3)
    reward(before, validated)
    np.testing.assert_allclose(reward.vector, [0.0, effect[1] / 5, effect[2] / 5], rtol=1e-6)


def test_the_released_influence_is_the_released_alignment() -> None:
    # Under a uniform mixture the reward, a mean of z-scores, is 0 but for rounding.
    after = signals(
        mixture=[0.5, 0.3, 0.2],
        alignment=[2.0, 1.0, -4.0],
        gradient_norms=[1.0, 2.0, 3.0],
        counts=[1, 1, 1],
    )
    reward, alignment = Influence("alignment"), REWARD_TERMS["alignment"](variant="released")  # type: ignore[call-arg]
    assert reward.needs == {"gram"} and Influence().needs == frozenset()
    for term in (reward, alignment):
        term.reset(3)
    assert reward(signals(), after) == alignment(signals(), after) > 0.1
    np.testing.assert_array_equal(reward.vector, alignment.vector)


# --- stability


def norms(*values: float) -> Signals:
    return signals(weight_norms=list(values))


def test_stability_by_hand() -> None:
    before, after = norms(2.0, 4.0), norms(2.5, 3.0)
    assert Stability()(before, after) == pytest.approx(-(0.25 + 0.25) / 2)
    assert Stability("released")(before, after) == pytest.approx(1 / (1.5 + 1e-8))
    # Nothing moved: the best there is. A norm that explodes counts as doubled.
    assert Stability()(before, before) == 0.0
    assert Stability("released")(before, before) == 5.0
    assert Stability()(norms(2.0, 4.0), norms(2.0, 400.0)) == -0.5


def test_stability_is_free_of_scale() -> None:
    a, b = np.array([2.0, 4.0, 1.0]), np.array([2.2, 3.9, 1.5])
    scaled = Stability()(norms(*(8 * a)), norms(*(8 * b)))
    assert Stability()(norms(*a), norms(*b)) == pytest.approx(scaled, rel=1e-6)


# --- all terms


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("K", [1, 3])
def test_terms_are_finite_whatever_happens(name: str, K: int) -> None:
    term: RewardTerm = VARIANTS[name]()
    low, high = term.bounds
    measured = {
        "lexical_diversity": [50.0] * K,
        "type_token_ratio": [0.5] * K,
        "weight_norms": [1.0, 2.0],
        "train_loss": [3.0] * K,
        "validation_change": [-0.1] * K,
        "alignment": [1.0] * K,
        "gradient_norms": [1.0] * K,
        "counts": [4.0] * K,
        "remaining": 0.5,
    }
    cases: dict[str, dict[str, Any]] = {
        "ordinary": {},
        "everything starved": {"counts": [0.0] * K, "lexical_diversity": [NAN] * K},
        "one starved": {"counts": [0.0, *[4.0] * (K - 1)], "alignment": [NAN, *[1.0] * (K - 1)]},
        "no words": {"lexical_diversity": [NAN] * K, "type_token_ratio": [NAN] * K},
        "diverged": {
            "weight_norms": [np.inf, NAN],
            "train_loss": [np.inf] * K,
            "validation_change": [NAN] * K,
            "alignment": [np.inf] * K,
            "gradient_norms": [np.inf] * K,
            "diverged": True,
        },
        "huge": {"validation_change": [1e30] * K, "alignment": [1e30] * K},
        "unmeasured": {"lexical_diversity": [NAN] * K, "validation_change": [NAN] * K},
    }
    term.reset(K)
    before, value = signals(K=K, **measured), NAN
    for changed in cases.values():
        value = term(before, signals(K=K, **{**measured, **changed}))
        assert type(value) is float and np.isfinite(value)
        assert low <= value <= high
        if term.vector is not None:
            assert term.vector.shape == (K,) and np.isfinite(term.vector).all()
    if K == 1 and name == "influence-loss":
        assert value == 0.0


@pytest.mark.parametrize("name", [n for n in VARIANTS if "stability" not in n])
def test_copies_are_apart_and_reset_forgets(name: str) -> None:
    def play(term: RewardTerm, changes: list[float]) -> list[float]:
        values = []
        for x in changes:
            now = decision([4, 2, 2], [-x, x / 2, x], alignment=[x, 1.0, -x],
                           gradient_norms=[1.0, 1.0, 1.0], lexical_diversity=[50 * x] * 3,
                           type_token_ratio=[0.5] * 3, remaining=0.5)  # fmt: skip
            values.append(term(signals(), now))
        return values

    term = VARIANTS[name]()
    term.reset(3)
    first = play(term, [0.1, 0.4, 0.3])
    term.reset(3)
    assert play(term, [0.1]) == first[:1]
    for twin in (copy.deepcopy(term), pickle.loads(pickle.dumps(term))):
        play(twin, [0.9])
    assert play(term, [0.4, 0.3]) == first[1:]


@pytest.mark.parametrize(
    ("term", "arguments", "message"),
    [
        (Diversity, {"variant": "mtdl"}, "did you mean 'mtld'"),
        (Diversity, {"sequences": 0}, "sequences.*0"),
        (Diversity, {"longest": 2.0}, r"longest.*2\.0"),
        (Influence, {"variant": "losses"}, "did you mean 'loss'"),
        (Influence, {"forgetting": 0.0}, r"forgetting.*0\.0"),
        (Influence, {"ridge": 0.0}, r"ridge.*0\.0"),
        (Influence, {"scalar": "means"}, "did you mean 'mean'"),
        (Stability, {"variant": "release"}, "did you mean 'released'"),
    ],
)
def test_bad_arguments_name_value_and_remedy(term: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        term(**arguments)


# --- holistic


def weights(spec: Any) -> dict[str, float]:
    return {name: weight for name, (weight, _) in build_terms(REWARD_TERMS, spec).items()}


def test_holistic_expands_and_everything_can_be_changed() -> None:
    assert weights("holistic") == {"influence": 1.0, "diversity": 10.0, "stability": 10.0}
    assert list(weights({"progress": 2.0, "holistic": 0.5}).items()) == [
        ("progress", 2.0), ("influence", 0.5), ("diversity", 5.0), ("stability", 5.0),
    ]  # fmt: skip
    terms = build_terms(
        REWARD_TERMS,
        {"holistic": {"diversity": {"variant": "released"}, "stability": 0.0, "weight": 2.0}},
    )
    assert [weight for weight, _ in terms.values()] == [2.0, 20.0, 0.0]
    assert terms["diversity"][1].variant == "released"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"holistic": {"divresity": 1.0}}, "did you mean 'diversity'"),
        ({"holistic": {"stability": {"variants": "released"}}}, "did you mean 'variant'"),
        ({"holistic": 1.0, "diversity": 2.0}, "'diversity' is named twice"),
        ("holistc", "did you mean 'holistic'"),
        ({"holistic": float("inf")}, "weight.*inf"),
        ({"holistic": {"stability": "much"}}, "weight.*much"),
    ],
)
def test_bad_combinations_name_value_and_remedy(spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build_terms(REWARD_TERMS, spec)
    assert isinstance(caught.value, UnknownNameError) == ("did you mean" in message)


def test_holistic_in_an_environment_shows_every_term() -> None:
    env = make(reward="holistic")
    _, info = env.reset(seed=0)
    assert list(info["reward_terms"]) == ["influence", "diversity", "stability"]
    shapes = {k: np.shape(v) for k, v in info.items()}
    terms: dict[str, float] = {}
    for _ in range(3):
        _, reward, _, _, info = env.step(UNIFORM)
        terms = info["reward_terms"]
        assert reward == terms["influence"] + 10 * terms["diversity"] + 10 * terms["stability"]
        assert {k: np.shape(v) for k, v in info.items()} == shapes
        assert set(info["reward_vectors"]) == {"influence", "diversity"}
    assert terms["diversity"] > 0 > terms["stability"] and terms["influence"] != 0


def test_holistic_with_starved_domains_and_with_one() -> None:
    env = make(reward="holistic", validation="reward")
    env.reset(seed=0)
    only = np.eye(8, dtype=np.float32)[2]
    assert np.isfinite(rewards(env, [only, 0.999 * only + 0.001 * UNIFORM, only])).all()
    one = make(reward="holistic", domains=["recipes"], limit=None)
    one.reset(seed=0)
    assert np.isfinite(rewards(one, [[1.0]] * 3)).all()


def test_a_diverged_step_has_the_penalty() -> None:
    env = make(reward="holistic", learning_rate=1e6, warmup_steps=0, clip=1e6)
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(UNIFORM)
    while not terminated:
        _, reward, terminated, _, info = env.step(UNIFORM)
    assert info["diverged"] and reward == -5.0
    assert set(info["reward_terms"].values()) == {0.0}


@pytest.mark.parametrize(
    "duplicate",
    [lambda env: env.fork(), copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))],
    ids=["fork", "deepcopy", "pickle"],
)
def test_memory_survives_a_copy_and_is_forgotten_at_reset(duplicate: Any) -> None:
    env = make(reward="holistic")
    mixtures = np.random.default_rng(0).dirichlet(np.ones(8), 3).astype(np.float32)
    env.reset(seed=1)
    first = rewards(env, list(mixtures))
    env.reset(seed=1)
    again = rewards(env, [mixtures[0]])
    twin = duplicate(env)
    assert again + rewards(twin, list(mixtures[1:])) == first
    assert again + rewards(env, list(mixtures[1:])) == first


def test_the_reward_does_not_change_the_training() -> None:
    losses = []
    for reward in ("progress", {"progress": 1.0, "holistic": 1.0}):
        env = make(reward=reward)
        env.reset(seed=3)
        rewards(env, [UNIFORM] * 3)
        losses.append(env.signals.train_loss)
    np.testing.assert_array_equal(*losses)
