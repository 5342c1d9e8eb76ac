"""Every kind of file that mixgym writes or reads, how one is made, and who reads it.

A new kind of file is one `Kind` in `KINDS`. What makes the files is a function of an empty folder,
called once a session; a reader is what a user would call, on a folder whose file may be damaged,
and returns what it came to, without what differs from call to call (seconds).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import torch

import mixgym  # noqa: F401  (registers the environments)
from mixgym.agents import make_agent
from mixgym.corpus import Corpus, load_corpus
from mixgym.errors import MixgymError
from mixgym.experiment.request import AgentSpec
from mixgym.lm.settings import Settings, gpt_neox
from tests.damage.corruptions import FORMATS
from tests.tiny import ENV, TWO, llama, trainer_arguments

TINY: dict[str, Any] = {
    **{**TWO, "decisions": 2, "steps_per_decision": 1},
    **{"batch_size": 4, "context": 16},
}
MODEL = gpt_neox(16, 1, 2)
SETTINGS = Settings(context=16, batch_size=4, learning_rate=1e-2, warmup_steps=2)

Reader = Callable[[Path], Any]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        area: what the file belongs to.
        file: where it is, as a pattern below the folder that `build` fills; the first match.
        format: of `corruptions.FORMATS`.
        build: makes the folder's files.
        readers: by name.
        slow: names of readers of which the default run tries few cases.
        excused: families of damage that nothing can or should find, and why; also of one reader,
            as "READER FAMILY".
        needs: modules without which the kind is left out.
    """

    area: str
    file: str
    format: str
    build: Callable[[Path], None]
    readers: Mapping[str, Reader]
    slow: tuple[str, ...] = ()
    excused: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def families(self, reader: str) -> tuple[str, ...]:
        """The families of damage that a reader must meet."""
        return tuple(
            family
            for family in FORMATS[self.format]
            if family not in self.excused and f"{reader} {family}" not in self.excused
        )


@functools.cache
def _two_domains() -> Corpus:
    return load_corpus("nano8", domains=["recipes", "python"])


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _without_time(value: Any) -> Any:
    """`value` without the seconds in it."""
    if isinstance(value, Mapping):
        left_out = ("seconds", "ms_per_step", "bare_ms_per_step", "overhead", "versions", "git")
        return {k: _without_time(v) for k, v in value.items() if k not in left_out}
    return [_without_time(v) for v in value] if isinstance(value, list | tuple) else value


def _first(folder: Path, pattern: str) -> Path:
    return min(folder.glob(pattern))


# ---- runs and bases ----


def _checkpoint(folder: Path) -> None:
    from mixgym.lm.training import TrainingRun

    run = TrainingRun(_two_domains(), MODEL, total_steps=20, seed=3, settings=SETTINGS)
    run.advance([0.5, 0.5], 2)
    run.save(folder / "run")


def _load_run(folder: Path) -> Any:
    from mixgym.lm.training import TrainingRun

    run = TrainingRun.load(folder / "run", _two_domains())
    signals = run.advance([0.9, 0.1], 1)
    losses = [signals.train_loss.tolist(), run.evaluate(windows=2).tolist()]
    return [repr(losses), run.step, run.identity(), _without_time(run.ledger.to_json())]


def _texts(folder: Path) -> None:
    (folder / "texts").mkdir()
    for name in ("one", "two"):
        text = "\n\n".join(f"{name} {i} " + f"word{i % 7} " * 30 for i in range(300))
        (folder / "texts" / f"{name}.txt").write_text(text)


def _base_of(folder: Path) -> Any:
    from mixgym.lm.base import BaseSpec, ensure_base

    spec = BaseSpec(f"files:{folder}/texts", ("one", "two"), MODEL, 2, SETTINGS, seed=3)
    return spec, ensure_base(spec, folder / "cache")


def _base(folder: Path) -> None:
    _texts(folder)
    _base_of(folder)


def _load_base(folder: Path) -> Any:
    from mixgym.lm.training import TrainingRun

    spec, base = _base_of(folder)
    run = TrainingRun(base.corpus, spec.model, total_steps=5, seed=9, settings=spec.settings)
    base.load_into(run)
    return [base.hash, _without_time(base.record), _digest(dict(run.model.named_parameters()))]


# ---- comparisons ----


@contextlib.contextmanager
def _run_here() -> Iterator[None]:
    """Do jobs of a pool in this process; starting another takes longer than a tiny run."""
    from mixgym import trajectories  # noqa: F401  (is imported by the time of the patch)
    from mixgym.experiment import pool
    from mixgym.experiment.worker import perform

    def run(jobs: Any, workers: Any = None, on_event: Any = None, *_: Any, **__: Any) -> list[Any]:
        failures = []
        for job in jobs:
            said: list[dict[str, Any]] = []
            message = job.message()
            if "timing_steps" in message["arguments"]:
                message["arguments"]["timing_steps"] = 0
            perform(message, said.append)
            if said[-1]["event"] == "failed":
                failures.append(pool.Failure(job, said[-1]["error"]))
        return failures

    real = pool.run_pool
    with contextlib.ExitStack() as stack:
        for module in list(sys.modules.values()):
            if getattr(module, "run_pool", None) is real:
                stack.enter_context(patch.object(module, "run_pool", run))
        yield


@contextlib.contextmanager
def _without_figures() -> Iterator[None]:
    def report(study: Any, out: Path, *_: Any) -> Path:
        return out / "report.html"

    with (
        patch("mixgym.compare.figures.draw_figures", lambda *_: []),
        patch("mixgym.compare.report.write_report", report),
    ):
        yield


def _rows(result: Any) -> Any:
    summary = [_without_time(asdict(row)) for row in result.summary]
    return repr([summary, [asdict(row) for row in result.curves]])


def _compare(folder: Path, **further: Any) -> Any:
    import io

    from rich.console import Console

    import mixgym.compare.study
    from mixgym.compare import compare

    assert mixgym.compare.study
    with _run_here(), _without_figures():
        return compare(
            ENV,
            ["natural", "random"],
            out=folder / "out",
            seeds=1,
            env_arguments=TINY,
            workers=1,
            console=Console(file=io.StringIO()),
            **further,
        )


def _comparison(folder: Path) -> None:
    _compare(folder)


def _resume_comparison(folder: Path) -> Any:
    return _rows(_compare(folder, resume=True))


def _redraw(folder: Path) -> Any:
    from mixgym.compare.study import redraw

    with _without_figures():
        return _rows(redraw(folder / "out"))


def _replay(folder: Path) -> Any:
    from mixgym.experiment.replay import replay_run

    run = folder / "out" / "runs" / "random" / "seed-0"
    found = replay_run(run)
    if found.difference is not None:  # as the command says it
        raise MixgymError(f"{run} does not replay: {found.difference}")
    return [found.decisions, found.objective_test_loss]


def _committed(folder: Path) -> None:
    import shutil

    _compare(folder)
    _redraw(folder)
    shutil.rmtree(folder / "out" / "runs")


def _probed_comparison(folder: Path) -> None:
    from mixgym.compare.probing import ProbeRequest, probe_run

    _compare(folder)
    probe_run(folder / "out" / "runs" / "random" / "seed-0", ProbeRequest(("sciq",), 2))


def _probe_table(folder: Path) -> Any:
    """What `mixgym probe` does with runs that it finds probed, and again with those it does not."""
    from mixgym.compare.probing import (
        ProbeRequest,
        finished_runs,
        probe_rows,
        probe_run,
        probed,
    )
    from mixgym.compare.study import read_study

    out, asked = folder / "out", ProbeRequest(("sciq",), 2)
    runs = finished_runs(read_study(out), out, ["random"])
    for _, _, directory in runs:
        if probed(directory, asked) is None:
            probe_run(directory, asked)
    return repr([asdict(row) for row in probe_rows(runs, asked)])


# ---- policies ----

POLICIES: dict[str, dict[str, Any]] = {
    "acodm": {"network": "tokens", "width": 8, "updates_per_decision": 1, "batch_size": 2},
    "sac": {"width": 8, "heads": 2, "batch_size": 2, "gradient_steps": 1, "warmup": 1},
    "cql": {"width": 8, "window": 2, "batch_size": 4, "action_samples": 2, "warm_start": 1},
}


def _online(name: str) -> tuple[Callable[[Path], None], Reader]:
    """What trains an agent for an episode, and what goes on with that training to a second."""

    def train(folder: Path, episodes: int, resume: bool) -> Any:
        from mixgym.train import TrainingRequest, train_agent

        request = TrainingRequest(AgentSpec(name, name, POLICIES[name]), ENV, TINY, seed=1)
        with patch("mixgym.train.trainer._draw", lambda *_: None):
            return train_agent(request, folder / "out", episodes, resume=resume)

    def build(folder: Path) -> None:
        train(folder, 1, False)

    def resume(folder: Path) -> Any:
        return repr(_without_time(train(folder, 2, True)))

    return build, resume


def _act(folder: Path) -> Any:
    """Drive a run by the saved policy, as `mixgym evaluate` does."""
    from mixgym.experiment.policy import policy_agent

    spec = policy_agent(folder / "out")
    agent = make_agent(spec.agent, **spec.arguments)
    arguments = {**TINY, **agent.env_arguments}
    env = gym.make(ENV, disable_env_checker=True, action_map=agent.action_map, **arguments)
    try:
        observation, info = env.reset(seed=0)
        agent.start(env, 0)
        actions = [np.asarray(agent.act(observation, info)).tolist() for _ in range(2)]
        cost = env.unwrapped.ledger.to_json()["agent"]  # type: ignore[attr-defined]
        return repr([actions, _without_time(cost)])
    finally:
        env.close()


def _collect(folder: Path, episodes: int = 2, **further: Any) -> Path:
    import mixgym.trajectories.collect  # noqa: F401
    from mixgym.trajectories import collect

    with _run_here():
        return collect(ENV, "mixed", episodes, folder / "out", env_arguments=TINY, **further)


def _dataset(folder: Path) -> None:
    _collect(folder)


def _load_dataset(folder: Path) -> Any:
    from mixgym.trajectories import load_trajectories

    data = load_trajectories(folder / "out")
    episodes = [
        [repr(e.observations.tolist()), repr(e.rewards.tolist()), e.mixtures.tolist(), e.seed]
        for e in data.episodes
    ]
    return [data.metadata["digest"], episodes, data.env, data.task.names]


def _resume_collection(folder: Path) -> Any:
    _collect(folder, resume=True)
    return _load_dataset(folder)


def _offline(folder: Path, steps: int = 2, **further: Any) -> Any:
    from mixgym.train.offline import OfflineRequest, train_offline

    agent = AgentSpec("cql", "cql", {**POLICIES["cql"], "held_out": 0.0})
    request = OfflineRequest(agent, (str(folder / "data" / "out"),), 1)
    return train_offline(request, folder / "out", steps, save_every=2, **further)


def _offline_policy(folder: Path) -> None:
    (folder / "data").mkdir()
    _collect(folder / "data")
    _offline(folder)


def _resume_offline(folder: Path) -> Any:
    return repr(_without_time(_offline(folder, 4, resume=True)))


# ---- agents that save themselves ----


def _simplex_env() -> Any:
    env = gym.make(ENV, disable_env_checker=True, action_map="simplex", **TINY)
    env.reset(seed=0)
    return env


SAVED: dict[str, dict[str, Any]] = {
    "odm-exp3": {},
    "ado": {},
    "mixing-law": {"proxies": 4, "steps": 1, "repetitions": None},
    "doremi": {"steps": 1},
}


def _agent(name: str) -> tuple[Callable[[Path], None], Reader]:
    def started() -> tuple[Any, Any]:
        env, agent = _simplex_env(), make_agent(name, **SAVED[name])
        agent.start(env, 0)
        return env, agent

    def build(folder: Path) -> None:
        with _cache(folder):
            env, agent = started()
            env.step(agent.act(np.zeros(0), {}))
            agent.act(np.zeros(0), {})
            agent.save(folder / "agent.json")

    def load(folder: Path) -> Any:
        env, agent = started()
        agent.load(folder / "agent.json")
        agent.save(folder / "again.json")
        env.step(np.array([0.5, 0.5], np.float32))
        return [repr(agent.act(np.zeros(0), {}).tolist()), (folder / "again.json").read_text()]

    return build, load


@contextlib.contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """Keep proxies' outcomes below `folder`."""
    import mixgym_agents.proxies.store

    with patch.object(mixgym_agents.proxies.store, "cache_root", lambda: folder / "cache"):
        yield


def _outcomes(folder: Path) -> Any:
    from mixgym_agents.proxies.mixing_law import MixingLawAgent
    from mixgym_agents.proxies.store import ProxyStore

    with _cache(folder):
        agent, env = MixingLawAgent(proxies=4, steps=1), _simplex_env()
        agent.start(env, 0)
        store = ProxyStore(agent.proxy(env.unwrapped, 7), np.arange(2), 2)
        found = dict(store.outcomes(np.array([[0.5, 0.5]])))
        return repr([found[0].losses.tolist(), _without_time(found[0].cost.to_json())])


def _outcome(folder: Path) -> None:
    _outcomes(folder)


# ---- tuning ----


def _tune(folder: Path, trials: int, resume: bool) -> Any:
    from mixgym.tune import TuningRequest, tune_agent

    fixed = {"network": "mlp", "width": 8, "gradient_steps": 1, "batch_size": 2, "warmup": 1,
             "interaction": "attention", "warmup_noise": 0.5, "log_std_init": -1.0,
             "normalise_rewards": "none"}  # fmt: skip
    request = TuningRequest(AgentSpec("sac", "sac", fixed), ENV, TINY, episodes=1, seeds=1)
    with patch("mixgym.train.trainer._draw", lambda *_: None):
        return tune_agent(request, folder / "out", trials, resume=resume)


def _study(folder: Path) -> None:
    _tune(folder, 2, False)


def _resume_study(folder: Path) -> Any:
    result = _tune(folder, 2, True)
    return [result.parameters, result.objective, result.trials, result.pruned, result.tokens]


# ---- corpora ----

BPE = "bpe-320"


def _corpus_of(folder: Path, **arguments: Any) -> Corpus:
    return load_corpus(f"files:{folder}/texts", cache=folder / "cache", **arguments)


def _corpus(folder: Path) -> None:
    _texts(folder)
    _corpus_of(folder)
    _corpus_of(folder, tokenizer=BPE)


def _facts(corpus: Corpus) -> Any:
    from mixgym.lm.stream import MixtureStream

    stream = MixtureStream(corpus, 4, 16, 0)
    batches = [repr(batch.tokens.tolist()) for batch in stream.batches(np.array([0.5, 0.5]), 2)]
    return [corpus.hash, corpus.names, corpus.natural.tolist(), batches]


def _start(tokenizer: str) -> Reader:
    """A comparison's beginning on the corpus: what is checked before anything runs."""

    def start(folder: Path) -> Any:
        from mixgym.compare.plan import Comparison, Study
        from mixgym.compare.validate import prepare

        arguments = {**TINY, "domains": None, "corpus": f"files:{folder}/texts"}
        arguments["tokenizer"] = tokenizer
        asked = Comparison(ENV, (AgentSpec("natural", "natural", {}),), (0,), arguments)
        with patch.dict("os.environ", {"MIXGYM_CACHE": str(folder / "cache")}):
            hashes = [c.corpus_hash for c in prepare(Study("x", (asked,))).comparisons]
        return [*hashes, *_facts(_corpus_of(folder, tokenizer=tokenizer))]

    return start


def _merged_of(folder: Path) -> Corpus:
    name = f"merge:files:{folder}/texts?source=one&target=two"
    return load_corpus(name, cache=folder / "cache")


def _merged(folder: Path) -> None:
    _texts(folder)
    _merged_of(folder)


def _load_merged(folder: Path) -> Any:
    corpus = _merged_of(folder)
    corpus.verify()
    return _facts(corpus)


def _division(folder: Path) -> None:
    import shutil
    from importlib.resources import files

    packaged = Path(str(files("mixgym.corpus") / "divisions"))
    shutil.copy(_first(packaged, "*-5.npz"), folder / "division.npz")


def _load_division(folder: Path) -> Any:
    from mixgym.corpus.divisions import read_division

    topics = read_division(folder / "division.npz")
    return [topics.facts, {name: cell[2] for name, cell in topics.cells.items()}]


# ---- a Trainer's run ----


def _trainer(folder: Path, resume: str | None) -> Any:
    from transformers import Trainer

    from mixgym.deploy import MixtureController

    model = llama(num_hidden_layers=1)
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 3}
    arguments = trainer_arguments(folder / "out", max_steps=4, **saving)
    controller = MixtureController(_two_domains(), "odm-exp3", 2, context=15)
    trainer = Trainer(model, **controller.trainer_arguments(arguments))
    trainer.train(resume_from_checkpoint=resume)
    return model, controller


def _trainers_checkpoint(folder: Path) -> None:
    _trainer(folder, None)


def _resume_trainer(folder: Path) -> Any:
    model, controller = _trainer(folder, str(folder / "out" / "checkpoint-3"))
    ledger = _without_time(controller.ledger.to_json())
    return [_digest(model.state_dict()), ledger, repr(controller.run.stream.state_dict())]


# ---- what users write ----

SUITE = """name: mine
comparisons:
  - env: NanoPretrain-v0
    agents: [natural, "random:{}"]
    seeds: 2
    arguments: {decisions: 2, steps_per_decision: 1}
"""


def _suite(folder: Path) -> None:
    (folder / "mine.yml").write_text(SUITE)


def _read_suite(folder: Path) -> Any:
    from mixgym.compare.plan import read_suite

    return read_suite(folder / "mine.yml").to_json()


_UNDIGESTED = "a table for other programs, which carries no digest"
_TABLE = {"number": _UNDIGESTED, "bit": _UNDIGESTED, "fewer": _UNDIGESTED}
_ONLINE = {name: _online(name) for name in ("acodm", "sac")}
_AGENTS = {name: _agent(name) for name in SAVED}
_OFFLINE_NEEDS = ("minari", "h5py", "d3rlpy")
_RUN = "out/runs/random/seed-0"
_ALL = {"resume": _resume_comparison, "redraw": _redraw, "replay": _replay}
_RESUME = {k: _ALL[k] for k in ("resume", "redraw")}
_DATA = {"load": _load_dataset, "resume": _resume_collection}

_CORPORA, _BASES = "cache/corpora", "cache/bases/*"
_SLOW = ("resume", "replay", "probe")
_RUN_READER, _BASE_READER = {"load": _load_run}, {"load": _load_base}
_STUDY, _TRAINER = {"resume": _resume_study}, {"resume": _resume_trainer}
_SAVED = _trainers_checkpoint
_PROBED = {"probe": _probe_table}
_TEXT, _TOKENS, _MERGED = {"start": _start("bytes")}, {"start": _start(BPE)}, {"load": _load_merged}
_COLLECTION = {"resume": _resume_collection}

KINDS: tuple[Kind, ...] = (
    Kind("run", "run/run.json", "json", _checkpoint, _RUN_READER),
    Kind("run", "run/state-*.safetensors", "tensors", _checkpoint, _RUN_READER),
    Kind("base", f"{_BASES}/base.json", "json", _base, _BASE_READER),
    Kind("base", f"{_BASES}/checkpoint/run.json", "json", _base, _BASE_READER),
    Kind("base", f"{_BASES}/checkpoint/state-*.safetensors", "tensors", _base, _BASE_READER),
    Kind("comparison", "out/config.json", "json", _comparison, _RESUME, _SLOW),
    Kind("comparison", f"{_RUN}/config.json", "json", _comparison, _ALL, _SLOW),
    Kind(
        "comparison",
        f"{_RUN}/result.json",
        "json",
        _comparison,
        _ALL,
        _SLOW,
        excused={"redraw missing": "then the run is not finished, and tables leave it out"},
    ),
    Kind("comparison", f"{_RUN}/metrics.csv", "table", _comparison, _ALL, _SLOW),
    Kind("comparison", f"{_RUN}/actions.npy", "array", _comparison, {"replay": _replay}, _SLOW),
    Kind(
        "committed results",
        "out/summary.csv",
        "table",
        _committed,
        {"redraw": _redraw},
        excused=_TABLE,
    ),
    Kind(
        "committed results",
        "out/curves.csv",
        "table",
        _committed,
        {"redraw": _redraw},
        excused=_TABLE,
    ),
    Kind(
        "comparison",
        f"{_RUN}/probes.json",
        "json",
        _probed_comparison,
        {"probe": _probe_table},
        _SLOW,
    ),
    *(
        Kind(f"{name} policy", file, format, build, readers, tuple(readers), needs=needs)
        for name, build, resume, needs in (
            ("acodm", *_ONLINE["acodm"], ()),
            ("sac", *_ONLINE["sac"], ("sb3_contrib",)),
            ("cql", _offline_policy, _resume_offline, _OFFLINE_NEEDS),
        )
        for file, format, readers in (
            ("out/config.json", "json", {"resume": resume}),
            ("out/cost.json", "json", {"act": _act, "resume": resume}),
            ("out/policy-*/policy.json", "json", {"act": _act, "resume": resume}),
            ("out/policy-*/tensors-*.safetensors", "tensors", {"act": _act, "resume": resume}),
        )
    ),
    *(
        Kind(f"{name} agent", "agent.json", "json", build, {"load": load})
        for name, (build, load) in _AGENTS.items()
    ),
    Kind("proxy outcome", "cache/proxies/*/*.json", "json", _outcome, {"use": _outcomes}),
    Kind("dataset", "out/config.json", "json", _dataset, _COLLECTION, _SLOW),
    Kind("dataset", "out/dataset.json", "json", _dataset, _DATA, _SLOW),
    Kind("dataset", "out/episodes/000001.safetensors", "tensors", _dataset, _DATA, _SLOW),
    Kind("dataset", "out/datasets/**/data/metadata.json", "json", _dataset, _DATA, _SLOW),
    Kind("dataset", "out/datasets/**/data/main_data.hdf5", "bytes", _dataset, _DATA, _SLOW),
    Kind("study", "out/config.json", "json", _study, _STUDY, _SLOW),
    Kind("study", "out/study.log", "lines", _study, _STUDY, _SLOW),
    Kind("study", "out/best.yml", "yaml", _study, _STUDY, _SLOW),
    Kind("study", "out/trial-*/cost.json", "json", _study, _STUDY, _SLOW),
    Kind("study", "out/trial-*/judged.json", "json", _study, _STUDY, _SLOW),
    Kind("corpus", f"{_CORPORA}/*/manifest.json", "json", _corpus, _TEXT),
    Kind("corpus", f"{_CORPORA}/*/verified.json", "json", _corpus, _TEXT),
    Kind("corpus", f"{_CORPORA}/*/text/two.train.bin", "bytes", _corpus, _TEXT),
    Kind("corpus", f"{_CORPORA}/*/text/one.test.bin", "bytes", _corpus, _TEXT),
    Kind("corpus", f"{_CORPORA}/*/tokens/*/one.json", "json", _corpus, _TOKENS),
    Kind("corpus", f"{_CORPORA}/*/tokens/*/tokenizer.json", "json", _corpus, _TOKENS),
    Kind("corpus", f"{_CORPORA}/*/tokens/*/tokenizer.sha256", "bytes", _corpus, _TOKENS),
    Kind("corpus", f"{_CORPORA}/*/tokens/*/one.train.bin", "bytes", _corpus, _TOKENS),
    Kind("merged corpus", f"{_CORPORA}/merge-*/manifest.json", "json", _merged, _MERGED),
    Kind("merged corpus", f"{_CORPORA}/files-*/manifest.json", "json", _merged, _MERGED),
    Kind("merged corpus", f"{_CORPORA}/merge-*/text/source.train.bin", "bytes", _merged, _MERGED),
    Kind("division", "division.npz", "bytes", _division, {"load": _load_division}),
    Kind(
        "trainer",
        "out/checkpoint-3/mixgym/state.json",
        "json",
        _trainers_checkpoint,
        _TRAINER,
        _SLOW,
    ),
    Kind(
        "trainer",
        "out/checkpoint-3/mixgym/tensors.safetensors",
        "tensors",
        _trainers_checkpoint,
        _TRAINER,
        _SLOW,
    ),
    Kind("trainer", "out/checkpoint-3/mixgym/agent", "json", _SAVED, _TRAINER, _SLOW),
    Kind(
        "suite",
        "mine.yml",
        "yaml",
        _suite,
        {"read": _read_suite},
        excused={"half": "another suite, if it is one", "bit": "another suite, if it is one"},
    ),
)
