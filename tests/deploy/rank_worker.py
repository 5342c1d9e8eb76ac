"""One process of a data-parallel run: RANK, WORLD_SIZE and so on are set; writes what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from transformers import Trainer

from mixgym.corpus import load_corpus
from mixgym.deploy import MixtureController
from tests.deploy.deploy_watch import Seen
from tests.tiny import llama, trainer_arguments


def run(out: Path, batch: int, resume: bool = False) -> dict[str, Any]:
    """Train four steps, or the last of them, and return everything that was seen."""
    corpus = load_corpus("nano8", domains=["recipes", "python"])
    model = llama(num_hidden_layers=1)
    controller = MixtureController(
        corpus,
        "odm-exp3",
        2,
        context=15,
        validation="all",
        evaluation_windows=2,
        gradients={"kinds": ["objective"], "windows": 2},
    )
    args = trainer_arguments(
        out / "trainer",
        max_steps=4,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=2,
        save_strategy="steps",
        save_steps=3,
    )
    watched = Seen(controller)
    trainer = Trainer(model, **controller.trainer_arguments(args))
    trainer.train(resume_from_checkpoint=str(out / "trainer/checkpoint-3") if resume else None)
    seen: dict[str, Any] = {
        "actions": [action.tolist() for action in watched.actions],
        "signals": [signals.to_json() for signals in watched.signals],
    }
    seen["weights"] = [p.flatten().tolist() for p in model.parameters()]
    seen["tokens"] = {k: a.tokens for k, a in controller.ledger.accounts.items()}
    return seen


if __name__ == "__main__":
    folder, name = Path(sys.argv[1]), sys.argv[2]
    results = [run(folder, 4), run(folder, 4, resume=True)]
    (folder / name).write_text(json.dumps(results))
