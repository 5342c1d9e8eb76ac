"""EleutherAI's evaluation harness on a training run or its checkpoint (extra `lm-eval`)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mixgym.corpus.load import load_corpus
from mixgym.errors import MixgymError, missing_extra
from mixgym.lm.checkpoint import read_record
from mixgym.lm.evaluation import evaluating
from mixgym.lm.run import ModelRun
from mixgym.lm.torchstate import own_torch_state
from mixgym.lm.training import TrainingRun
from mixgym.probes.encoding import batches, pieces
from mixgym.probes.measure import batch_scores

try:
    from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise missing_extra("lm-eval", "lm-eval", "the lm-eval adapter") from error

LONGEST_GENERATION = 256
"""Tokens generated at most where a task does not say."""


class HarnessModel(LM):
    """A training run as the harness sees a model; measuring does not change the run.

    Questions longer than the model's context lose their beginning, and long answers are scored in
    pieces, as by probes (`mixgym.probes.encoding`). Generation is greedy.

    Args:
        run: whose model, tokenizer, context and precision count.
        account: of the ledger, that pays.
    """

    def __init__(self, run: ModelRun, account: str = "evaluation") -> None:
        super().__init__()
        self.run = run
        self.account = account

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """(log-probability in nats, whether greedy) of each request's (context, continuation)."""
        return self._scores([(str(r.args[0]), str(r.args[1])) for r in requests])

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Log-probability in nats of each request's whole text."""
        return [score for score, _ in self._scores([("", str(r.args[0])) for r in requests])]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Greedy continuations, cut before the first of the stop strings.

        Raises `MixgymError` for a task that asks for sampling.
        """
        return [self._generate(str(r.args[0]), dict(r.args[1])) for r in requests]

    def _scores(self, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
        tokenizer, context = self.run.corpus.tokenizer, self.run.settings.context
        windows: list[tuple[NDArray[np.int64], int, int]] = []
        for owner, (before, answer) in enumerate(pairs):
            prefix = np.concatenate([[tokenizer.separator], tokenizer.encode(before)])
            windows += [
                (ids, n, owner) for ids, n in pieces(prefix, tokenizer.encode(answer), context)
            ]
        made = list(batches(windows))
        with self._charged(sum(batch.scored.size for batch in made)):
            scores, greedy = batch_scores(self.run.model, made, len(pairs), self.run.autocast())
        return [(float(s), bool(g)) for s, g in zip(scores, greedy, strict=True)]

    def _generate(self, before: str, arguments: dict[str, Any]) -> str:
        if arguments.get("do_sample") or arguments.get("temperature"):
            raise MixgymError(
                "the lm-eval adapter generates greedily: set do_sample: false and temperature: 0 "
                "in the task's generation_kwargs"
            )
        until = arguments.get("until") or []
        until = [until] if isinstance(until, str) else list(until)
        tokenizer, context = self.run.corpus.tokenizer, self.run.settings.context
        ids = [tokenizer.separator, *tokenizer.encode(before).tolist()]
        start, text = len(ids), ""
        device = next(self.run.model.parameters()).device
        for _ in range(int(arguments.get("max_gen_toks") or LONGEST_GENERATION)):
            window = torch.tensor([ids[-context:]], device=device)
            with self._charged(window.numel()), torch.inference_mode(), self.run.autocast():
                logits = self.run.model(input_ids=window, use_cache=False).logits
            token = int(logits[0, -1].argmax())
            if token == tokenizer.separator:
                break
            ids.append(token)
            text = tokenizer.decode(np.array(ids[start:]))
            if any(stop in text for stop in until):
                break
        ends = [text.index(stop) for stop in until if stop in text]
        return text[: min(ends)] if ends else text

    @contextmanager
    def _charged(self, tokens: int) -> Iterator[None]:
        start = time.perf_counter()
        settings = self.run.settings
        with own_torch_state(settings.threads, settings.device), evaluating(self.run.model):
            yield
        self.run.ledger.charge(
            self.account,
            tokens=tokens,
            flops=2.0 * self.run.n_parameters * tokens,
            seconds=time.perf_counter() - start,
        )


def evaluate_with_harness(
    run: ModelRun,
    tasks: Sequence[str],
    *,
    include_path: str | Path | None = None,
    num_fewshot: int | None = None,
    limit: int | None = None,
    account: str = "evaluation",
) -> dict[str, dict[str, Any]]:
    """Run harness tasks on a training run's model.

    Tasks of the harness download their data from the Hugging Face hub; a local one is a YAML file
    in `include_path`. Global random states are left as they were.

    Args:
        run: left unchanged but for the ledger.
        tasks: the harness's names.
        include_path: folder with YAML tasks of your own.
        num_fewshot: solved examples before a question; the task's own by default.
        limit: items of each task, at most.
        account: of the ledger, that pays.

    Returns:
        The harness's results by task: metrics, with their standard errors.

    Raises:
        MixgymError: a task that samples, or that the harness does not know.
    """
    from lm_eval.evaluator import simple_evaluate  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    # The harness's own thousands of tasks take long to index: only where they are wanted.
    folder = None if include_path is None else str(include_path)
    manager = TaskManager(include_path=folder, include_defaults=folder is None)
    if folder is not None and not set(tasks) <= set(manager.all_tasks):
        manager = TaskManager(include_path=folder)
    unknown = sorted(set(tasks) - set(manager.all_tasks))
    if unknown:
        raise MixgymError(
            f"the harness knows no task {', '.join(unknown)}: `lm-eval ls tasks` lists its own; "
            "include_path=FOLDER adds yours"
        )
    with _global_states():
        found: Any = simple_evaluate(
            model=HarnessModel(run, account),
            tasks=list(tasks),
            task_manager=manager,
            num_fewshot=num_fewshot,
            limit=limit,
            bootstrap_iters=1000,
            random_seed=0,
            numpy_random_seed=0,
            torch_random_seed=0,
            fewshot_random_seed=0,
        )
    return dict(found["results"])


def evaluate_checkpoint(
    path: str | Path, tasks: Sequence[str], **arguments: Any
) -> dict[str, dict[str, Any]]:
    """Run harness tasks on a saved `TrainingRun` (see `evaluate_with_harness`).

    Raises `CheckpointError` if there is none at `path`.
    """
    spec = read_record(path)["corpus_spec"]
    run = TrainingRun.load(path, load_corpus(**spec))
    return evaluate_with_harness(run, tasks, **arguments)


@contextmanager
def _global_states() -> Iterator[None]:
    """Restore the global random states, which the harness seeds."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
