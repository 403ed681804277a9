"""Tiny rerankers: the layouts and the geometry of the published ones, narrow random networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer

from support.tiny import bert, byte_tokenizer, noise, save, save_tokenizer, write_json
from support.tiny_vision import HALF, qwen_text

CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
CONTROLS += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
ANSWERS = ["yes", "no", "True", "False"]

# What Qwen's own templates do with the messages that rerankers send; Qwen2-VL's has a system message of its own.
_TURNS = (
    "{% for message in messages %}SYSTEM<|im_start|>{{ message['role'] }}\n"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ item['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SYSTEM = (
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    "<|im_end|>\n{% endif %}"
)


def cross_encoder(folder: Path, *, labels: int = 1, longest: int = 512, activation: str = "Identity") -> Path:
    """A BERT with a head of one number, as `cross-encoder/ms-marco-MiniLM-L6-v2` is laid out: no modules.json."""
    from transformers import BertConfig, BertForSequenceClassification

    bert(folder)
    (folder / "modules.json").unlink()
    settings = json.loads((folder / "config.json").read_text())
    config = BertConfig(**{**settings, "num_labels": labels})
    save(folder, BertForSequenceClassification(config), config)
    written = json.loads((folder / "config.json").read_text())
    act = {"activation_fn": f"torch.nn.modules.{'linear' if activation == 'Identity' else 'activation'}.{activation}"}
    write_json(folder / "config.json", {**written, "sentence_transformers": act})
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(folder / "tokenizer.json"))
    named = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", {**named, "model_max_length": longest})
    return folder


def causal(folder: Path) -> Path:
    """A language model that answers, saved by sentence-transformers with its LogitScore, as mxbai-rerank-v2 is."""
    import transformers as hf
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    plain = folder.parent / f"{folder.name}-plain"
    tokenizer = _tokenizer(plain, system="")
    template = (
        "<|im_start|>user\nquery: {{ (messages | selectattr('role', 'eq', 'query') | first).content }}\n"
        "document: {{ (messages | selectattr('role', 'eq', 'document') | first).content }}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    (plain / "chat_template.jinja").write_text(template)
    config = hf.Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    save(plain, hf.Qwen2ForCausalLM(config), config, embedding=32**-0.5)
    modules = [
        Transformer(
            str(plain),
            transformer_task="text-generation",
            modality_config={
                "text": {"method": "forward", "method_output_name": "logits"},
                "message": {"method": "forward", "method_output_name": "logits", "format": "flat"},
            },
            module_output_name="causal_logits",
        ),
        LogitScore(tokenizer.token_to_id("yes"), tokenizer.token_to_id("no")),
    ]
    CrossEncoder(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


def qwen3(folder: Path, *, dim: int = 64, layers: int = 2) -> Path:
    """Qwen3, of which `Qwen/Qwen3-Reranker-0.6B` is made: text alone, tied embeddings."""
    import transformers as hf

    tokenizer = _tokenizer(folder, system="")
    config = hf.Qwen3Config(**qwen_text(tokenizer, dim, layers), head_dim=16, tie_word_embeddings=True)
    save(folder, hf.Qwen3ForCausalLM(config), config, embedding=dim**-0.5)
    return folder


def qwen3_vl(folder: Path, *, dim: int = 64, layers: int = 2) -> Path:
    """Qwen3-VL as `Qwen/Qwen3-VL-Reranker-2B` has it: cells of 32 pixels, tied embeddings."""
    import transformers as hf

    tokenizer = _tokenizer(folder, system="")
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = {**qwen_text(tokenizer, dim, layers), "head_dim": 16, "rope_scaling": rope}
    vision = {"depth": layers + 1, "hidden_size": dim, "num_heads": 4, "patch_size": 16, "intermediate_size": 2 * dim}
    vision |= {"out_hidden_size": dim, "num_position_embeddings": 2304, "deepstack_visual_indexes": [0, 1]}
    config = hf.Qwen3VLConfig(text_config=text, vision_config=vision, **_ids(tokenizer))
    _processor(folder, "Qwen3VLProcessor", patch=16)
    save(folder, hf.Qwen3VLForConditionalGeneration(config), config, embedding=dim**-0.5)
    return folder


def qwen2_vl(folder: Path, *, dim: int = 64, layers: int = 2) -> Path:
    """Qwen2-VL, the base of MonoQwen2-VL: cells of 28 pixels, tied embeddings."""
    import transformers as hf

    config = _qwen2_config(folder, dim=dim, layers=layers)
    save(folder, hf.Qwen2VLForConditionalGeneration(config), config, embedding=dim**-0.5)
    return _of_2024(folder)


def mono_qwen(folder: Path, base: Path, *, rank: int = 2) -> Path:
    """An adapter of `base` as MonoQwen2-VL-v0.1 is published: without a processor, with its base's configuration."""
    folder.mkdir(parents=True)
    shutil.copy(base / "config.json", folder)
    stored = load_file(base / "model.safetensors")
    weights = {}
    for name in [name for name in stored if name.endswith(("q_proj.weight", "down_proj.weight"))]:
        module = name.removesuffix(".weight")
        rows, cols = stored[name].shape
        weights[f"base_model.model.{module}.lora_A.weight"] = noise(f"{name} a", (rank, cols)) / cols**0.5
        weights[f"base_model.model.{module}.lora_B.weight"] = noise(f"{name} b", (rows, rank))
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "base_model_name_or_path": str(base)}
    write_json(folder / "adapter_config.json", {**settings, "target_modules": ["q_proj", "down_proj"]})
    return folder


def jina_vl(folder: Path, network: Any, *, dim: int = 64, layers: int = 2, old: bool = True) -> Path:
    """jina-reranker-m0, whose class its repository defines: Qwen2-VL with two layers on its last state.

    old: named as in 2024, or as transformers 5 saves it.
    """
    config = _qwen2_config(folder, dim=dim, layers=layers)
    save(folder, network(config), config)
    return _of_2024(folder) if old else folder


def _of_2024(folder: Path) -> Path:
    """Name tensors and settings as in the checkpoints of 2024, which transformers 5 renames while loading."""
    weights = load_file(folder / "model.safetensors")
    old = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): name for name in weights
    }
    save_file(
        {name: weights[now] for name, now in old.items()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    kept = {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}
    kept |= {"num_key_value_heads", "max_position_embeddings", "rms_norm_eps"}
    rope = {"rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}
    write_json(folder / "config.json", {**config, **{key: text[key] for key in sorted(kept)}, **rope})
    return folder


def _qwen2_config(folder: Path, *, dim: int, layers: int) -> Any:
    import transformers as hf

    tokenizer = _tokenizer(folder, system=_SYSTEM)
    rope = {"type": "mrope", "rope_type": "default", "mrope_section": [2, 3, 3]}
    text = {**qwen_text(tokenizer, dim, layers), "rope_scaling": rope, "rope_theta": 1e6}
    vision = {"depth": layers, "hidden_size": dim, "num_heads": 4, "patch_size": 14, "embed_dim": dim, "mlp_ratio": 2}
    _processor(folder, "Qwen2VLProcessor", patch=14)
    return hf.Qwen2VLConfig(text_config=text, vision_config=vision, **_ids(tokenizer))


def _ids(tokenizer: Tokenizer) -> dict[str, Any]:
    number = tokenizer.token_to_id
    return {
        "image_token_id": number("<|image_pad|>"),
        "video_token_id": number("<|video_pad|>"),
        "vision_start_token_id": number("<|vision_start|>"),
        "vision_end_token_id": number("<|vision_end|>"),
        "tie_word_embeddings": True,
    }


def _tokenizer(folder: Path, *, system: str) -> Tokenizer:
    tokenizer = byte_tokenizer(folder, CONTROLS)
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=False, single_word=True) for word in ANSWERS])
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    save_tokenizer(folder, tokenizer, settings)
    (folder / "chat_template.jinja").write_text(_TURNS.replace("SYSTEM", system))
    return tokenizer


def _processor(folder: Path, name: str, *, patch: int) -> None:
    image = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": name,
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        **HALF,
    }
    least, most = 56 * 56, 12_845_056
    pixels = {"min_pixels": least, "max_pixels": most}  # as Qwen2-VL names its limits
    image |= pixels if patch == 14 else {"size": {"shortest_edge": least, "longest_edge": most}}
    write_json(folder / "preprocessor_config.json", image)
    video = {key: value for key, value in image.items() if key != "image_processor_type"}
    kind = "Qwen3VLVideoProcessor" if patch == 16 else "Qwen2VLVideoProcessor"
    write_json(folder / "video_preprocessor_config.json", {**video, "video_processor_type": kind})


def spec_of(folder: Path, family: str, **more: Any) -> Any:
    """An entry for a checkpoint in a folder."""
    from visret.types import ModelSpec

    modality = "text" if family in ("cross_encoder", "qwen3") else "image"
    given = {"revision": "", "dim": 0, "license": "mit", "size_gb": 0.0, "task": "rerank", **more}
    return ModelSpec(name=folder.name, family=family, source=str(folder), modality=modality, **given)


def without_weights(folder: Path, to: Path, beginning: str) -> Path:
    """A copy of a checkpoint in which the weights whose names begin so are missing."""
    shutil.copytree(folder, to)
    kept = {name: one for name, one in load_file(to / "model.safetensors").items() if not name.startswith(beginning)}
    save_file(kept, to / "model.safetensors", metadata={"format": "pt"})
    return to
