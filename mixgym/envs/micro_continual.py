"""`mixgym/MicroContinual-v0`."""

from __future__ import annotations

from typing import ClassVar

from mixgym.envs.continual import ContinualEnv
from mixgym.envs.continual_arguments import ContinualArguments


class MicroContinualEnv(ContinualEnv):
    """
    ## Description
    A GPT-NeoX of 0.13 M parameters that was really pretrained on general prose (the base, built
    once by `mixgym data base MicroContinual-v0`, in about a minute of one core) is pretrained on:
    towards mathematics, without losing the prose. There are two domains. `source` is the text the
    base has seen (Wikipedia summaries, presidents' speeches, licences, the Bible, recipes of
    `core19`), `target` is exercises in arithmetic and algebra and the source code of SymPy. All
    target teaches it fastest and forgets the prose; the question is how much source, and when.
    `info` reports `retention` (source validation loss of the base minus that now), `gain` (the same
    for the target) and the source tokens spent.

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
    gain over the base. Probes: MMLU's validation questions and LAMBADA for prose, MATH and GSM8K
    for mathematics; 64 items of each whose answer has at most 96 bytes (GSM8K, which has few so
    short: 128), answered in text, by byte. A window holds 64 bytes, so that of a long question its
    end is read (see `mixgym.probes.encoding`). Report items are others. Measuring takes three
    tenths of the FLOPs of the training. The paper's exact reward was not found. `progress`
    (validation loss of both fields) is there too.

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
    Those of `mixgym.envs.continual_arguments.ContinualArguments`. `source` and `target` choose the
    fields: `"prose"` or `"documents"` (AWS documentation, French and Spanish Wikipedia, disease
    codes), `"maths"` or `"code"` (Python, JavaScript, C++; feedback from HumanEval and MBPP), or
    any lists of domains with `feedback` naming their probes. MMLU needs pyarrow
    (`pip install 'mixgym[parquet]'`) when its items are first read.

    ## References
    Data Mixing Agent (arXiv 2507.15640), at a scale of minutes. There, fields are web text and
    Dolmino's mathematics, feedback is MMLU's validation set and a small MATH set, and a trajectory
    has about 70 decisions.

    ## Version History
    * v0: initial version.
    """

    DEFAULTS: ClassVar[ContinualArguments] = ContinualArguments(
        corpus="core19",
        source="prose",
        target="maths",
        model="micro",
        decisions=40,
        steps_per_decision=20,
        reward="feedback",
        observation="continual",
        evaluation_windows=64,
        report_windows=1024,
        base={"steps": 1500},
    )
