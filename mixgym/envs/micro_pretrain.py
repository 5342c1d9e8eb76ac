"""`mixgym/MicroPretrain-v0`."""

from __future__ import annotations

from typing import ClassVar

from mixgym.envs.arguments import EnvironmentArguments
from mixgym.envs.batched import BatchedEnv
from mixgym.envs.pretrain import PretrainEnv


class MicroPretrainEnv(PretrainEnv):
    """
    ## Description
    A GPT-NeoX of 0.13 M parameters is trained from scratch on the nineteen domains of the
    `core19` corpus: prose, technical documents, three languages and a hundred more in snippets,
    code in four languages, question answering, mathematics, structured data, a pronouncing
    dictionary and pure noise. The natural mixture is skewed like The Pile's: it follows
    the domains' real sizes, aws_docs, recipes and hashes being limited so that the largest domain
    holds 18 % and the smallest 0.1 %. The goal is the lowest
    validation loss averaged over all nineteen domains, the objective of most data-mixing
    papers. Domains learn at different speeds and help each other unequally; `hashes` cannot be
    learned at all, so a policy that chases high losses wastes its budget there.

    ## Action Space
    `Box(-1, 1, (19,), float32)`, mapped to the mixture by `softmax(5 * action)`. Every point of the
    box is valid, and what lies outside is clipped into it. Other maps by `action_map`: `"ilr"`,
    `"delta"`, `"dirichlet"`, `"simplex"`. Domain order: that of `env.unwrapped.task.names`.

    ## Observation Space
    `Box(-10, 10, (K*10 + L*2 + 2,), float32)`: ten features of each domain (mixture, natural
    share, weight in the objective, share of tokens so far, log epochs, training loss, its change,
    steps since the domain was seen, validation loss, its change), two of each of L layers (log
    norm of the MLP output matrix and of its update), and two scalars (remaining budget,
    objective's validation loss). Losses are in nats per byte. `env.unwrapped.layout.names` names
    every entry; what was not measured is 0.

    ## Rewards
    `progress`: the decrease of the objective's validation loss over the decision, in nats per
    byte. An episode's undiscounted return is the total improvement.

    ## Starting State
    A freshly initialised model. `reset(seed=s)` fixes the initial weights and the order of each
    domain's text; the validation windows are the same for every seed. `reset(options=...)` takes
    `"mixture"` (the current mixture before the first decision) and `"checkpoint"` (a saved
    `TrainingRun` to take weights from).

    ## Episode End
    *Termination*: the budget is spent (a true horizon, hence never a truncation), or the run
    diverged, which ends it with a reward of -5. *Truncation*: never.

    ## Arguments
    Those of `mixgym.envs.arguments.EnvironmentArguments`.

    ## References
    The Pile's mixture as in AC-ODM (arXiv 2505.23878), on text that pip can download.

    ## Version History
    * v0: initial version.
    """

    DEFAULTS: ClassVar[EnvironmentArguments] = EnvironmentArguments(
        corpus="core19",
        limit={"aws_docs": 34_000_000, "recipes": 480_000, "hashes": 240_000},
        model="micro",
        decisions=30,
        steps_per_decision=40,
        evaluation_windows=64,
        report_windows=1024,
    )


class BatchedMicroPretrainEnv(BatchedEnv):
    """N of `MicroPretrainEnv` whose runs train together."""

    SINGLE = MicroPretrainEnv
