"""`mixgym/NanoContinual-v0`."""

from __future__ import annotations

from typing import ClassVar

from mixgym.envs.continual import ContinualEnv
from mixgym.envs.continual_arguments import ContinualArguments


class NanoContinualEnv(ContinualEnv):
    """
    ## Description
    `mixgym/MicroContinual-v0` in seconds, for tests and debugging: a GPT-NeoX of 0.04 M parameters,
    pretrained for 300 steps on the prose of `nano8` (Wikipedia summaries and recipes; the base is
    built in seconds at the first reset), is pretrained on towards exercises in arithmetic and
    algebra. There are two domains, `source` and `target`.

    ## Action Space
    `Box(-1, 1, (2,), float32)` (source, target), mapped to the mixture by `softmax(5 * action)`.
    Every point of the box is valid, and what lies outside is clipped into it. Other maps by
    `action_map`: `"ilr"` (one number), `"delta"`, `"dirichlet"`, `"simplex"`.

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
    gain over the base. Probes: LAMBADA and SciQ for prose, GSM8K and sums of small numbers for
    mathematics; 16 items of each whose answer has at most 96 bytes (GSM8K: 128), by byte. The
    paper's exact reward was not found. `progress` (validation loss of both fields) is there too.

    ## Starting State
    The base's weights, the same for every seed. `reset(seed=s)` fixes the order of each domain's
    text; validation windows and feedback items are the same for every seed. The optimiser starts
    afresh. `reset(options=...)` takes `"mixture"` (the current mixture before the first decision)
    and `"checkpoint"` (a saved `TrainingRun` of the same corpus to take weights from instead of the
    base).

    ## Episode End
    *Termination*: the budget is spent (a true horizon, hence never a truncation), or the run
    diverged, which ends it with a reward of -5. *Truncation*: never.

    ## Arguments
    Those of `mixgym.envs.continual_arguments.ContinualArguments`. `source` and `target` choose the
    fields, `"prose"`, `"documents"`, `"maths"` or `"code"`, or any lists of domains with `feedback`
    naming their probes.

    ## References
    Data Mixing Agent (arXiv 2507.15640), at a scale of minutes.

    ## Version History
    * v0: initial version.
    """

    DEFAULTS: ClassVar[ContinualArguments] = ContinualArguments(
        corpus="nano8",
        source="prose",
        target="maths",
        model="nano",
        decisions=20,
        steps_per_decision=10,
        reward="feedback",
        observation="continual",
        evaluation_windows=16,
        feedback={"source": ("lambada", "sciq"), "target": ("gsm8k", "arithmetic")},
        feedback_items=16,
        report_items=64,
        base={"steps": 300},
    )
