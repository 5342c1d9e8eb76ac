"""Causal language models by preset, configuration or local checkpoint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixgym.errors import MixgymError, unknown_name
from mixgym.lm.settings import PRESETS

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

_WEIGHT_FILES = ("*.safetensors", "*.bin")

ModelSpec = str | Mapping[str, Any]


def model_config(spec: ModelSpec, vocab_size: int, context: int) -> PretrainedConfig:
    """Return the `transformers` configuration that `spec` stands for.

    Args:
        spec: a preset's name (`mixgym list` shows them), a mapping of `AutoConfig` arguments with
            its `model_type` (`{"model_type": "llama", "hidden_size": 64, ...}`), or a local
            directory with a checkpoint.
        vocab_size: the corpus tokenizer's; it replaces the configuration's unless a checkpoint
            fixes it.
        context: tokens of a training sequence; the model must be able to hold it.

    Raises:
        UnknownNameError: no such preset, and no such directory.
        MixgymError: a mapping without `model_type`, or with arguments the type refuses; a
            checkpoint with too small a vocabulary or context.
    """
    from transformers import AutoConfig

    if isinstance(spec, str) and spec not in PRESETS:
        if not Path(spec, "config.json").is_file():
            raise unknown_name("model", spec, PRESETS)
        config = AutoConfig.from_pretrained(spec, local_files_only=True)
        if config.vocab_size < vocab_size:
            raise MixgymError(
                f"the checkpoint {spec!r} has {config.vocab_size} tokens, the corpus's tokenizer "
                f"{vocab_size}: build the corpus with the checkpoint's own tokenizer "
                f"(tokenizer='hf:{spec}')"
            )
    else:
        arguments = dict(PRESETS[spec].config) if isinstance(spec, str) else dict(spec)
        try:
            model_type = arguments.pop("model_type")
        except KeyError:
            raise MixgymError(
                f"the model {spec!r} names no model_type: add one, for example "
                "{'model_type': 'gpt_neox', 'hidden_size': 64, ...}"
            ) from None
        arguments.setdefault("max_position_embeddings", context)
        arguments["vocab_size"] = vocab_size
        try:
            config = AutoConfig.for_model(model_type, **arguments)
        except Exception as error:  # each architecture checks in its own way
            raise MixgymError(f"transformers refuses the model {spec!r}: {error}") from error
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and longest < context:
        raise MixgymError(
            f"the model holds {longest} tokens, a sequence has {context}: lower the context or "
            "raise max_position_embeddings"
        )
    return config


def build_model(spec: ModelSpec, config: PretrainedConfig, seed: int) -> PreTrainedModel:
    """Build the model: weights from the checkpoint if `spec` is one, else initialised by `seed`.

    The global random state is left as it was.
    """
    from transformers import AutoModelForCausalLM

    from mixgym.lm.threads import private_rng

    with private_rng(seed):
        if isinstance(spec, str) and spec not in PRESETS:
            return AutoModelForCausalLM.from_pretrained(
                spec, config=config, local_files_only=True
            ).float()
        return _from_config(config)


def _from_config(config: PretrainedConfig, **arguments: Any) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_config(config, **arguments)
    except Exception as error:  # each architecture fails in its own way
        raise MixgymError(
            f"transformers cannot build the model {config.model_type!r} ({error}): change its "
            f"configuration, {config.to_diff_dict()!r}"
        ) from error


def checkpoint_digest(spec: ModelSpec) -> str | None:
    """Return the SHA-256 of the weights that `spec` holds; None where it is no checkpoint.

    Raises:
        MixgymError: the directory has no file of weights.
    """
    if not isinstance(spec, str) or spec in PRESETS:
        return None
    files = sorted(f for pattern in _WEIGHT_FILES for f in Path(spec).glob(pattern))
    if not files:
        raise MixgymError(
            f"the checkpoint {spec!r} has no weights ({' or '.join(_WEIGHT_FILES)}): save it with "
            "save_pretrained"
        )
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest.update(file.name.encode())
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def empty_model(config: Mapping[str, Any], device: str) -> PreTrainedModel:
    """Build a model for training whose weights are yet to be filled in.

    Args:
        config: `to_dict()` of its configuration.
        device: where it lives.

    Raises:
        MixgymError: no configuration that transformers knows how to build.
    """
    import torch
    from transformers import AutoConfig

    from mixgym.lm.threads import private_rng
    from mixgym.lm.torchstate import own_torch_state

    plain = dict(config)
    try:
        made = AutoConfig.for_model(plain.pop("model_type"), **plain)
    except Exception as error:
        raise MixgymError(f"transformers refuses the model {dict(config)!r}: {error}") from error
    with own_torch_state(torch.get_num_threads()):
        with private_rng(0), torch.device("meta"):
            model = _from_config(made, dtype=torch.float32)
        model = model.to_empty(device=device).train()
        model.tie_weights()
    return model


#: Name patterns of the matrices whose norms are signals, by architecture: the MLP's output.
MLP_OUTPUT_PATTERNS: tuple[str, ...] = (
    r"mlp\.dense_4h_to_h\.weight$",
    r"mlp\.down_proj\.weight$",
    r"mlp\.c_proj\.weight$",
    r"mlp\.fc_out\.weight$",
    r"\.fc2\.weight$",
)


def signal_layers(model: torch.nn.Module, pattern: str) -> list[tuple[str, torch.nn.Parameter]]:
    """Return the matrices whose norms are signals: those matching `pattern`, or the MLP outputs.

    Raises:
        MixgymError: nothing matches.
    """
    for candidate in [pattern] if pattern else MLP_OUTPUT_PATTERNS:
        found = [(n, p) for n, p in model.named_parameters() if re.search(candidate, n)]
        if found:
            return found
    if pattern:
        raise MixgymError(f"no parameter of the model matches layers={pattern!r}")
    raise MixgymError(
        "the model's MLP output matrices were not recognised: name them with layers='REGEX', one "
        f"of: {', '.join(n for n, p in model.named_parameters() if p.ndim == 2)}"
    )
