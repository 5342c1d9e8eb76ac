"""`mixgym/NanoPretrain-v0`."""

from __future__ import annotations

from typing import ClassVar

from mixgym.envs.arguments import EnvironmentArguments
from mixgym.envs.batched import BatchedEnv
from mixgym.envs.pretrain import PretrainEnv


class NanoPretrainEnv(PretrainEnv):
    """
    ## Description
    A GPT-NeoX of 0.04 M parameters is trained from scratch on the eight domains of the `nano8`
    corpus (English and French Wikipedia, recipes, Python, translations in a hundred languages,
    arithmetic, medical codes, API descriptions), 2 MB each. At every decision the agent chooses
    the mixture of the next fifteen optimiser steps. The goal is the lowest mean validation loss
    over all eight domains when the budget of 300 steps (307 k tokens) is spent. It is the
    environment for tests, debugging and tutorials: an episode takes seconds.

    ## Action Space
    `Box(-1, 1, (8,), float32)`, one number a domain, mapped to the mixture by
    `softmax(5 * action)`: equal numbers are the uniform mixture, and one domain can get up to
    99.97 % of the weight. Every point of the box is valid, and what lies outside is clipped into
    it. Other maps by `action_map`: `"ilr"` (7 numbers, no redundant direction), `"delta"` (moves
    from the current mixture), `"dirichlet"` (concentrations; the mixture is drawn) and `"simplex"`
    (the mixture itself). Domain order: wiki_en, wiki_fr, recipes, python, i18n, math_synth, icd10,
    api_json.

    ## Observation Space
    `Box(-10, 10, (86,), float32)`: ten features of each domain (mixture, natural share, weight in
    the objective, share of tokens so far, log epochs, training loss, its change, steps since the
    domain was seen, validation loss, its change), two of each of the two layers (log norm of the
    MLP output matrix and of its update), and two scalars (remaining budget, objective's
    validation loss). Losses are in nats per byte. `env.unwrapped.layout.names` names every entry;
    what was not measured is 0.

    ## Rewards
    `progress`: the decrease of the objective's validation loss over the decision, in nats per
    byte. An episode's undiscounted return is the total improvement. Measuring it costs
    16 windows a domain at every decision, charged to the ledger's `reward` account.

    ## Starting State
    A freshly initialised model. `reset(seed=s)` fixes the initial weights and the order of each
    domain's text; the validation windows are the same for every seed. `reset(options=...)` takes
    `"mixture"` (the current mixture before the first decision) and `"checkpoint"` (a saved
    `TrainingRun` to take weights from).

    ## Episode End
    *Termination*: the budget is spent (a true horizon, hence never a truncation), or the run
    diverged (a loss that is not finite or three times that of knowing nothing), which ends it
    with a reward of -5. *Truncation*: never. `env.spec.max_episode_steps` is `decisions + 1`,
    which no episode reaches.

    ## Arguments
    Those of `mixgym.envs.arguments.EnvironmentArguments`, for example
    `gym.make("mixgym/NanoPretrain-v0", decisions=40, learning_rate=3e-3, domains=["wiki_en",
    "python"])`.

    ## References
    The task of AC-ODM (arXiv 2505.23878) and HDS (arXiv 2606.24133) in its smallest form.

    ## Version History
    * v0: initial version.
    """

    DEFAULTS: ClassVar[EnvironmentArguments] = EnvironmentArguments(
        limit={"api_json": 8_000_000},
        decisions=20,
        steps_per_decision=15,
        evaluation_windows=16,
    )


class BatchedNanoPretrainEnv(BatchedEnv):
    """N of `NanoPretrainEnv` whose runs train together."""

    SINGLE = NanoPretrainEnv
