"""Folders with checkpoints, which are recognised by their configuration and never by their name.

An adapter is what it was trained on, or else what its base is. A folder with an entry of its own (`CARD` in `registry`)
needs no recognition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visret.errors import UnknownModel, WeightsError
from visret.models.architectures import ARCHITECTURES, CONFIG, CROSS_ENCODER, SENTENCE_TRANSFORMERS, Architecture
from visret.models.weights import FILES, base_folder, has_weights, read_json
from visret.types import ModelSpec

__all__ = ["recognise"]


def recognise(folder: Path, *, name: str, source: str, revision: str) -> ModelSpec:
    """Return an entry, with this name, source and revision, for the checkpoint in a folder.

    Raises UnknownModel if no family loads it, and WeightsError if it has no weights or its configuration is damaged.
    """
    base = base_folder(folder)
    config, adapter = read_json((base or folder) / "config.json"), read_json(folder / "adapter_config.json")
    architecture = _architecture(folder, config, adapter)
    if not has_weights(folder):
        raise WeightsError(f"{folder}: no weights here; expected one of {', '.join(FILES)}")
    known = ARCHITECTURES[architecture]
    return ModelSpec(
        name=name,
        family=known.family,
        source=source,
        revision=revision,
        modality=known.modality,
        dim=_dim(folder, config, known),
        license="unknown",
        size_gb=round(sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e9, 3),
        options=known.options,
        architecture=architecture,
        task=known.task,
    )


def _architecture(folder: Path, config: Mapping[str, Any], adapter: Mapping[str, Any]) -> str:
    """Return the class of a checkpoint. Raises UnknownModel if it is not in the table."""
    by_config = [name for name, row in ARCHITECTURES.items() if row.named_in == CONFIG]
    said = [(adapter.get("auto_mapping") or {}).get("base_model_class"), *(config.get("architectures") or [])]
    for architecture in said:
        if architecture in by_config:
            return str(architecture)
    modules = read_json(folder / "modules.json", [])
    if modules and str(modules[0].get("type")).endswith(".CLIPModel"):  # its configuration is in a folder of its own
        return "CLIPModel"
    classifies = any(str(name).endswith("ForSequenceClassification") for name in said)
    # Checkpoints for images have a modules.json too, so it decides only for what looks like a text model.
    if (folder / "modules.json").is_file() and not adapter and "vision_config" not in config:
        # A plain sentence model, which names no kind, is used token by token.
        plain = CROSS_ENCODER if classifies else "SentenceTransformer"
        kind = read_json(folder / SENTENCE_TRANSFORMERS).get("model_type", plain)
        if kind in ARCHITECTURES and ARCHITECTURES[kind].named_in == SENTENCE_TRANSFORMERS:
            return str(kind)
    if classifies:
        return CROSS_ENCODER
    found = [str(architecture) for architecture in said if architecture]
    what = f"architectures {found}, model_type {config.get('model_type')!r}" if config or adapter else "none"
    writes = any(re.search("ForConditionalGeneration|ForCausalLM|ImageTextToText", name) for name in found)
    hint = "; it writes text, and only a checkpoint trained from it for retrieval can find pages" if writes else ""
    if any(name in ARCHITECTURES for name in found):
        hint += "; if it is a reranker, an entry beside it (visret.yaml, with task: rerank) must say so"
    raise UnknownModel(
        f"{folder}: no late-interaction model or reranker that visret can load (its configuration: {what}){hint}; "
        f"supported are {', '.join([*by_config, 'sentence-transformers folders with modules.json'])}"
    )


def _dim(folder: Path, config: Mapping[str, Any], known: Architecture) -> int:
    """Return the dimensions of a vector; for a text model those of its last projection, or else its hidden size.

    A projection does not count token by token: it stands behind the pooling.
    """
    if known.modality == "image" or known.task == "rerank":
        return int(config.get(known.dim_key) or known.dim)
    if known.task == "sparse":
        return int(config.get("vocab_size") or 0)  # a Router has it elsewhere, and then loading tells
    hidden = next((config[key] for key in ("hidden_size", "dim", "d_model") if config.get(key)), None)
    if known.options.get("token_by_token"):
        return int(hidden or known.dim)
    stanford = read_json(folder / "artifact.metadata").get("dim")
    modules = read_json(folder / "modules.json", [])
    layers = [
        read_json(folder / m["path"] / "config.json") for m in modules if str(m.get("type", "")).endswith("Dense")
    ]
    projected = layers[-1].get("out_features") if layers else None
    return int(stanford or projected or hidden or known.dim)
