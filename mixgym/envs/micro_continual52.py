"""`mixgym/MicroContinual52-v0`."""

from __future__ import annotations

from typing import ClassVar

from mixgym.envs.continual import ContinualEnv
from mixgym.envs.continual_arguments import ContinualArguments


class MicroContinual52Env(ContinualEnv):
    """
    ## Description
    `mixgym/MicroContinual-v0` with each field cut into 26 topics: 52 domains, the larger space of
    the Data Mixing Agent. A domain's name is its field and its most typical words
    (`source_species_family_genus`, `target_common_greatest_divisor`). The paper divides both fields
    by one classifier of 26 topics; here each field has its own, found by words alone
    (`mixgym.corpus.topics`), because prose and mathematics share too few. The base is that of
    MicroContinual. Building the corpus needs scikit-learn (`pip install 'mixgym[topics]'`) and half
    a minute.

    ## Action Space
    `Box(-1, 1, (52,), float32)`, mapped to the mixture by `softmax(5 * action)`. Every point of the
    box is valid, and what lies outside is clipped into it. Other maps by `action_map`: `"ilr"`,
    `"delta"`, `"dirichlet"`, `"simplex"`. Domain order: that of `env.unwrapped.task.names`; a
    field's topics are sorted by size.

    ## Observation Space
    `Box(-10, 10, (K*19 + 1,), float32)`, set `continual`: for each domain whether it is of the
    target field, its natural share, the feedback of its field, the mixtures of the last eight
    decisions, and the field's feedback after each of them minus the base's; then the remaining
    budget. Feedback is in nats a token. `env.unwrapped.layout.names` names every entry; what was
    before the start is 0.

    ## Rewards
    `feedback`: the change over the decision of the mean log-probability a token of the probes'
    right answers, in nats, the source field's plus the target field's (weights are arguments:
    `reward={"feedback": {"source": 2.0, "target": 1.0}}`). An episode's undiscounted return is the
    gain over the base. Probes as in MicroContinual. The paper's exact reward was not found.
    `progress` (validation loss of both fields) is there too.

    ## Starting State
    The base's weights, the same for every seed; `base={"seed": 1}` is another base. `reset(seed=s)`
    fixes the order of each domain's text; validation windows and feedback items are the same for
    every seed. The optimiser starts afresh. `reset(options=...)` takes `"mixture"` (the current
    mixture before the first decision) and `"checkpoint"` (a saved `TrainingRun` of the same corpus
    to take weights from instead of the base).

    ## Episode End
    *Termination*: the budget is spent (a true horizon, hence never a truncation), or the run
    diverged, which ends it with a reward of -5. *Truncation*: never.

    ## Arguments
    Those of `mixgym.envs.continual_arguments.ContinualArguments`. `topics` and `topic_seed` set the
    division; `source`, `target` and `feedback` are those of MicroContinual. The groups `source` and
    `target` name the fields in mixtures (`{"source": 0.3, "target": 0.7}`).

    ## References
    Data Mixing Agent (arXiv 2507.15640), at a scale of minutes.

    ## Version History
    * v0: initial version.
    """

    DEFAULTS: ClassVar[ContinualArguments] = ContinualArguments(
        corpus="core19",
        source="prose",
        target="maths",
        topics=26,
        model="micro",
        decisions=40,
        steps_per_decision=20,
        reward="feedback",
        observation="continual",
        evaluation_windows=16,
        report_windows=128,
        base={"steps": 1500},
    )
