"""What an environment's arguments come to once presets and defaults have filled them in.

Arguments as they were given say nothing of a preset or default that the code has changed since;
results carry what they came to, so that unequal ones are never put together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The agent decides on the action map; the corpus has a hash of its own in every result; measuring
# gradients changes no result.
_LEFT_OUT = ("render_mode", "action_map", "corpus_hash", "gradients")
_MISSING = "nothing"


def resolved_configuration(env: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments`, `settings` and `model` of a built environment, as plain JSON.

    `given` are the arguments asked for, without those that an agent wanted for itself, which are
    not part of the configuration that arms share. Nothing for an environment that has no
    `configuration` (see `mixgym.envs.protocol.MixingEnv`).
    """
    inner = env.unwrapped
    if not hasattr(inner, "configuration"):
        return {}
    resolved = inner.configuration(given)
    arguments = resolved.get("arguments", {})
    kept = {key: value for key, value in arguments.items() if key not in _LEFT_OUT}
    return {**resolved, "arguments": kept}


def configuration_id(resolved: Mapping[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of the canonical JSON; "" for nothing."""
    if not resolved:
        return ""
    text = json.dumps(resolved, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def configuration_differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each dotted key in which two resolved configurations differ.

    A `stored` one that is empty, of results from before they were kept, is one line for all.
    """
    if stored == now:
        return []
    if not stored:
        return [
            "configuration (the stored results do not say what their presets and defaults were: "
            "they are of an older mixgym)"
        ]
    old, new = _flat(stored), _flat(now)
    return [
        f"{key} (stored {old.get(key, _MISSING)!r}, now {new.get(key, _MISSING)!r})"
        for key in dict.fromkeys([*old, *new])
        if key not in old or key not in new or old[key] != new[key]
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat.update(_flat(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def absolute_paths(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Environment arguments with folders named by a relative path made absolute.

    A stored run must find its own text, tokenizer and checkpoint from whichever folder it is
    replayed in. Names of registered things are left alone.
    """
    from mixgym.lm.settings import PRESETS

    changed = dict(arguments)
    corpus, tokenizer, model = (changed.get(key) for key in ("corpus", "tokenizer", "model"))
    if isinstance(corpus, str):
        path, mark, query = corpus.removeprefix("files:").partition("?")
        if corpus.startswith("files:") or Path(path).expanduser().is_dir():
            changed["corpus"] = f"files:{_absolute(path)}{mark}{query}"
    if isinstance(tokenizer, str) and tokenizer.startswith("hf:"):
        path = tokenizer.removeprefix("hf:")
        if Path(path).is_dir():
            changed["tokenizer"] = f"hf:{_absolute(path)}"
    if isinstance(model, str) and model not in PRESETS and Path(model, "config.json").is_file():
        changed["model"] = _absolute(model)
    return changed


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())
