"""Tiny checkpoints of the families that look at pages: the geometry of the published ones, narrow random networks.

`CHECKPOINTS` makes one by its architecture. Tensor names are those of the classes themselves.
"""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from support.tiny import WORDS, add_specials, byte_tokenizer, noise, save, save_tokenizer, write_json

HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}


def colpali(folder: Path, architecture: str, *, dim: int = 64, layers: int = 2, seed: int = 0) -> Path:
    """ColPali, or transformers' ColPaliForRetrieval: 448 x 448 pixels, patches of 14."""
    from transformers import ColPaliConfig, GemmaConfig, PaliGemmaConfig, SiglipVisionConfig

    places = [f"<loc{i:0>4}>" for i in range(1024)] + [f"<seg{i:0>3}>" for i in range(128)]
    tokenizer = _sentencepiece(plain=places, special=["<image>"])
    settings = {"padding_side": "right", "extra_special_tokens": {}, "additional_special_tokens": ["<image>"]}
    save_tokenizer(folder, tokenizer, {"tokenizer_class": "GemmaTokenizer", **_GEMMA, **settings})
    size = {"height": 448, "width": 448}
    image = {
        "image_processor_type": "SiglipImageProcessor",
        "processor_class": "ColPaliProcessor",
        "size": size,
        **HALF,
    }
    write_json(folder / "preprocessor_config.json", {**image, "image_seq_length": 1024, "resample": 3})
    vocabulary = tokenizer.get_vocab_size()
    text = {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "num_hidden_layers": layers}
    vision = {"num_attention_heads": 4, "num_hidden_layers": layers, "image_size": 448, "patch_size": 14}
    config = PaliGemmaConfig(
        text_config=GemmaConfig(vocab_size=vocabulary, hidden_size=dim, intermediate_size=2 * dim, **text).to_dict(),
        vision_config=SiglipVisionConfig(
            hidden_size=dim, intermediate_size=2 * dim, vision_use_head=False, **vision
        ).to_dict(),
        image_token_index=tokenizer.token_to_id("<image>"),
        vocab_size=vocabulary,
        projection_dim=dim,
        hidden_size=dim,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
    )
    if architecture == "ColPaliForRetrieval":
        config = ColPaliConfig(vlm_config=config)
        prompts = {"visual_prompt_prefix": "Describe the image.", "query_prefix": "Question: "}
        write_json(folder / "processor_config.json", {"processor_class": "ColPaliProcessor", **prompts})
    save(folder, _class(architecture)(config), config, seed=seed, embedding=dim**-0.5)
    return folder


def colqwen(
    folder: Path, architecture: str, *, dim: int = 64, layers: int = 2, seed: int = 0, max_patches: int = 768
) -> Path:
    """ColQwen2, 2.5, 3, 3.5, or transformers' ColQwen2ForRetrieval: cells of 28 or 32 pixels."""
    import transformers

    controls = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    controls += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = byte_tokenizer(folder, controls)
    number = tokenizer.token_to_id
    third = architecture in ("ColQwen3", "ColQwen3_5")
    patch = 16 if third else 14
    text = qwen_text(tokenizer, dim, layers)
    vision = {"depth": layers, "hidden_size": dim, "num_heads": 4, "patch_size": patch}
    wide = {"intermediate_size": 2 * dim, "out_hidden_size": dim}
    rope = {"type": "mrope", "rope_type": "default", "mrope_section": [2, 3, 3]}
    if architecture == "ColQwen3":
        name = "Qwen3VLConfig"
        rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True}
        text |= {"head_dim": 16, "rope_scaling": rope}
        vision |= {**wide, "depth": layers + 1, "num_position_embeddings": 2304, "deepstack_visual_indexes": [0, 1]}
    elif architecture == "ColQwen3_5":
        name = "Qwen3_5Config"
        rope = {"rope_type": "default", "rope_theta": 1e7, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
        heads = {"linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_value_heads": 4}
        kinds = ["linear_attention"] * (layers - 1) + ["full_attention"]
        text |= {"head_dim": 32, "linear_conv_kernel_dim": 4, "linear_num_key_heads": 2, "layer_types": kinds, **heads}
        text["rope_parameters"] = {**rope, "partial_rotary_factor": 0.25}
        vision |= {**wide, "num_position_embeddings": 2304}
    elif architecture in ("ColQwen2_5", "BiQwen2_5"):
        name = "Qwen2_5_VLConfig"
        text |= {"rope_scaling": rope, "rope_theta": 1e6}
        vision |= {**wide, "window_size": 112, "fullatt_block_indexes": [layers - 1]}
    else:
        name = "Qwen2VLConfig"
        text |= {"rope_scaling": rope, "rope_theta": 1e6}
        vision |= {"embed_dim": dim, "mlp_ratio": 2}
    config = getattr(transformers, name)(
        text_config=text,
        vision_config=vision,
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    processor = _processor(architecture)
    least = 64 if third else 4
    image = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": processor,
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": least * (2 * patch) ** 2, "longest_edge": max_patches * (2 * patch) ** 2},
        **HALF,
    }
    write_json(folder / "preprocessor_config.json", image)
    video = {key: value for key, value in image.items() if key != "image_processor_type"}
    kind = "Qwen3VLVideoProcessor" if third else "Qwen2VLVideoProcessor"
    write_json(folder / "video_preprocessor_config.json", {**video, "video_processor_type": kind})
    if architecture == "ColQwen2ForRetrieval":
        config = transformers.ColQwen2Config(vlm_config=config)
        write_json(folder / "processor_config.json", {"processor_class": processor, "query_prefix": "Query: "})
    save(folder, _class(architecture)(config), config, seed=seed)
    return folder


def colidefics(
    folder: Path, architecture: str, *, dim: int = 64, layers: int = 2, seed: int = 0, longest_edge: int = 2048
) -> Path:
    """ColSmol's ColIdefics3, ColModernVBert or ColModernVBertForRetrieval: tiles of 512 pixels, 8 x 8 patches."""
    from transformers import ColModernVBertConfig, Idefics3Config, ModernVBertConfig

    tiles = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    controls = ["<global-img>", *tiles, "<fake_token_around_image>", "<image>", "<end_of_utterance>"]
    smol = architecture == "ColIdefics3"
    frame = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] if smol else ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    names = ("unk_token", "bos_token", "pad_token") if smol else ("unk_token", "cls_token", "sep_token", "pad_token")
    tokenizer = byte_tokenizer(folder, [*frame, *controls])
    number = tokenizer.token_to_id
    if not smol:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[(token, number(token)) for token in ("[CLS]", "[SEP]")]
        )
    more = {"additional_special_tokens": controls[-3:], "model_input_names": ["input_ids", "attention_mask"]}
    kind = "GPT2Tokenizer" if smol else "PreTrainedTokenizerFast"
    settings = {"tokenizer_class": kind, **dict(zip(names, frame, strict=False)), **more}
    save_tokenizer(folder, tokenizer, settings)
    processor = "ColIdefics3Processor" if smol else "ColModernVBertProcessor"
    image = {
        "image_processor_type": "Idefics3ImageProcessor",
        "processor_class": processor,
        "do_image_splitting": True,
        "max_image_size": {"longest_edge": 512},
        "size": {"longest_edge": longest_edge},
        "resample": 1,
        **HALF,
    }
    write_json(folder / "preprocessor_config.json", image)
    write_json(folder / "processor_config.json", {"image_seq_len": 64, "processor_class": processor})
    vision = {"hidden_size": dim, "intermediate_size": 2 * dim, "num_hidden_layers": layers, "num_attention_heads": 4}
    vision |= {"image_size": 512, "patch_size": 16}
    text = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": dim,
        "intermediate_size": 2 * dim,
        "num_hidden_layers": layers + (not smol),
        "num_attention_heads": 4,
        "max_position_embeddings": 8192,
        "pad_token_id": number(frame[2] if smol else "[PAD]"),
        "bos_token_id": number(frame[1]),
        "eos_token_id": number(frame[2]),
    }
    if smol:
        text |= {"model_type": "llama", "num_key_value_heads": 2}
        config = Idefics3Config(
            image_token_id=number("<image>"), scale_factor=4, text_config=text, vision_config=vision
        )
    else:
        text |= {"model_type": "modernbert", "cls_token_id": number("[CLS]"), "sep_token_id": number("[SEP]")}
        vision |= {"model_type": "siglip_vision_model", "vision_use_head": False}
        config = ModernVBertConfig(
            image_token_id=number("<image>"), pixel_shuffle_factor=4, text_config=text, vision_config=vision
        )
    if architecture == "ColModernVBertForRetrieval":
        config = ColModernVBertConfig(vlm_config=config)
    save(folder, _class(architecture)(config), config, seed=seed)
    return folder


def colgemma(folder: Path, architecture: str, *, dim: int = 64, layers: int = 2, seed: int = 0) -> Path:
    """ColGemma3: 896 x 896 pixels, patches of 14, 4 x 4 of which become one."""
    from transformers import Gemma3Config

    pictures = ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    tokenizer = _sentencepiece(plain=[], special=["<start_of_turn>", "<end_of_turn>", *pictures])
    number = tokenizer.token_to_id
    named = dict(zip(("boi_token", "eoi_token", "image_token"), pictures, strict=True))
    turn = (
        "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n"
        "{% for item in message['content'] %}"
        "{% if item['type'] == 'image' %}<start_of_image>{% else %}{{ item['text'] | trim }}{% endif %}{% endfor %}"
        "<end_of_turn>\n{% endfor %}"
    )
    settings = {"padding_side": "left", "extra_special_tokens": named, "chat_template": turn, **named}
    save_tokenizer(folder, tokenizer, {"tokenizer_class": "GemmaTokenizer", **_GEMMA, **settings})
    image = {
        "image_processor_type": "Gemma3ImageProcessor",
        "processor_class": "Gemma3Processor",
        "resample": 2,
        **HALF,
    }
    size = {"height": 896, "width": 896}
    write_json(folder / "preprocessor_config.json", {**image, "image_seq_length": 256, "size": size})
    write_json(folder / "processor_config.json", {"image_seq_length": 256, "processor_class": "Gemma3Processor"})
    common = {"hidden_size": dim, "intermediate_size": 2 * dim, "num_hidden_layers": layers, "num_attention_heads": 4}
    text = {
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "vocab_size": tokenizer.get_vocab_size(),
    }
    kinds = ["sliding_attention"] * (layers - 1) + ["full_attention"]
    vision = {"model_type": "siglip_vision_model", "image_size": 896, "patch_size": 14, "vision_use_head": False}
    config = Gemma3Config(
        text_config={**common, **text, "layer_types": kinds, "vocab_size": tokenizer.get_vocab_size()},
        vision_config={**common, **vision},
        mm_tokens_per_image=256,
        boi_token_index=number("<start_of_image>"),
        eoi_token_index=number("<end_of_image>"),
        image_token_index=number("<image_soft_token>"),
    )
    save(folder, _class(architecture)(config), config, seed=seed, embedding=dim**-0.5)
    return folder


Make = Callable[..., Path]
CHECKPOINTS: dict[str, Make] = {
    architecture: partial(make, architecture=architecture)
    for make, architectures in (
        (colpali, ("ColPali", "ColPaliForRetrieval")),
        (colqwen, ("ColQwen2", "ColQwen2_5", "ColQwen3", "ColQwen3_5", "ColQwen2ForRetrieval")),
        (colidefics, ("ColIdefics3", "ColModernVBert", "ColModernVBertForRetrieval")),
        (colgemma, ("ColGemma3",)),
    )
    for architecture in architectures
}


def lora(folder: Path, base: Path, *, named: str = "", rank: int = 2) -> dict[str, torch.Tensor]:
    """An adapter of the last projection and of one attention layer of `base`; what it adds to that one's weights.

    named: how it names its base. It has the files of the base's processor, as published adapters have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in base.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, folder)
    weights, added = {}, {}
    stored = load_file(base / "model.safetensors")
    last = next(name for name in ("custom_text_proj", "linear", "embedding_proj_layer") if f"{name}.weight" in stored)
    inner = next(
        name for name in sorted(stored) if "layers.1" in name and name.endswith(("q_proj.weight", "Wqkv.weight"))
    )
    for name in (f"{last}.weight", inner):
        module = name.removesuffix(".weight")
        rows, cols = stored[name].shape
        a, b = noise(f"{name} a", (rank, cols)), noise(f"{name} b", (rows, rank))
        weights |= {f"base_model.model.{module}.lora_A.weight": a, f"base_model.model.{module}.lora_B.weight": b}
        added[name] = 2 * b @ a
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "base_model_name_or_path": named or str(base)}
    modules = [name.removesuffix(".weight") for name in added]
    write_json(folder / "adapter_config.json", {**settings, "target_modules": modules})
    return added


def merged(folder: Path, base: Path, added: dict[str, torch.Tensor]) -> Path:
    """A copy of `base` with something added to its weights."""
    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    for name, value in added.items():
        weights[name] += value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


_GEMMA = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>", "add_bos_token": True}


def _sentencepiece(plain: list[str], special: list[str]) -> Tokenizer:
    """Gemma's tokenizer with a vocabulary of letters, bytes and a few words."""
    base = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    pieces = [*base, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "\n", *string.printable[:95]]
    merges = []
    for word in ("▁" + word for word in WORDS if len(word) > 1):
        for end in range(1, len(word)):
            merges.append((word[:end], word[end]))
            pieces.append(word[: end + 1])
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, list(dict.fromkeys(merges)), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in plain])
    add_specials(tokenizer, [*base, *special])
    return tokenizer


def load_original(folder: Path) -> tuple[Any, Any]:
    """Model and processor of a folder, by the library they come from."""
    architecture = _architecture(folder)
    settings = {"key_mapping": {}} if architecture in ("BiQwen2", "BiQwen2_5") else {}  # as visret/embedders/bi.py
    return _class(architecture).from_pretrained(folder, **settings).eval(), load_processor(folder)


def load_processor(folder: Path, **settings: Any) -> Any:
    """The processor of a folder, by the library it comes from."""
    architecture = _architecture(folder)
    return getattr(_library(architecture), _processor(architecture)).from_pretrained(folder, **settings)


def _processor(architecture: str) -> str:
    names = {"ColGemma3": "ColGemmaProcessor3", "BiPali": "ColPaliProcessor"}
    names |= {name: f"{name}_Processor" for name in ("ColQwen2_5", "BiQwen2_5")}
    return names.get(architecture, f"{architecture.removesuffix('ForRetrieval')}Processor")


def _architecture(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_text())["architectures"][0])


def _library(architecture: str) -> Any:
    import colpali_engine.models
    import transformers

    return transformers if architecture.endswith("ForRetrieval") else colpali_engine.models


def _class(architecture: str) -> Any:
    return getattr(_library(architecture), architecture)


def qwen_text(tokenizer: Tokenizer, dim: int, layers: int) -> dict[str, Any]:
    """The settings of a tiny language model of Qwen."""
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": dim,
        "intermediate_size": 2 * dim,
        "num_hidden_layers": layers,
        "num_attention_heads": dim // 16,
        "num_key_value_heads": 2,
    }
