"""The folder that a run of training leaves: the files of the original with other weights, an entry, and a card."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visret.errors import InvalidArgument
from visret.models import fetch, registry, weights
from visret.training.settings import Settings
from visret.types import ModelSpec

__all__ = ["Trained", "weight_files", "write"]

_LEFT_OUT = ("README.md", registry.CARD, "onnx", "openvino", "*.bin", "*.onnx", "*.h5", "*.ot", ".*", "__pycache__")


@dataclass(frozen=True)
class Trained:
    """The result of a run of training.

    folder: the new model. base: the name of the model that it was made from. pairs: the questions of each kind.
    held_out: the questions that were measured and not learned from. curve: (step, nDCG@10 on these), from step 0.
    kept: the step whose weights the folder has, that with the best nDCG. seconds: of the last call.
    """

    folder: str
    base: str
    pairs: Mapping[str, int]
    held_out: int
    curve: Sequence[tuple[int, float]]
    kept: int
    seconds: float


def weight_files(spec: ModelSpec) -> list[Path]:
    """Return the files of a checkpoint's full weights; those of an adapter are its base's.

    Raises InvalidArgument if the weights lie elsewhere than trained ones can be written.
    """
    if spec.options.get("four_bit"):
        raise InvalidArgument(f"{spec.name}: weights of 4 bits cannot be trained; make the index without four_bit")
    base = fetch.base_folder(spec, fetch.weights_folder(spec))
    whole, index = base / weights.FILES[0], base / weights.FILES[1]
    if whole.is_file():
        return [whole]
    named = weights.read_json(index).get("weight_map", {})
    if not named:
        raise InvalidArgument(f"{spec.name}: only a checkpoint with {whole.name} or {index.name} can be trained here")
    return [base / name for name in sorted(set(named.values()))]


def write(
    folder: Path, draft: Path, spec: ModelSpec, changed: Mapping[str, Any], trained: Trained, settings: Settings
) -> None:
    """Write the model. The weights come last.

    draft: a folder on the same disk for what is not complete. changed: torch tensors by the names that they have in the
    checkpoint's files. All other weights are copied.
    """
    from safetensors.torch import load_file, save_file

    source = fetch.weights_folder(spec)
    files = weight_files(spec)
    base = files[0].parent
    for part in dict.fromkeys((base, source)):  # an adapter has the tokenizer, and its base the configuration
        others = () if part == base else ("config.json", "adapter_config.json", base.name)
        ignored = shutil.ignore_patterns(*_LEFT_OUT, *others, "*.safetensors")
        shutil.copytree(part, folder, dirs_exist_ok=True, ignore=ignored, symlinks=False)
    for file in base.rglob("*.safetensors"):  # of layers behind the network, which stay as they are
        target = folder / file.relative_to(base)
        if target.parent != folder:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    options = {key: value for key, value in spec.options.items() if key != "weak_below"}  # measured for the original
    entry = dataclasses.replace(
        spec, name=folder.name, source=".", revision="", options=options, aliases=(), packages=(), sha256=""
    )
    registry.write_card(folder, entry)
    (folder / "README.md").write_text(_card(folder.name, spec, trained, settings), "utf-8")
    for file in files:
        stored = load_file(file)
        tensors = {
            name: changed[name].to("cpu", value.dtype).contiguous() if name in changed else value
            for name, value in stored.items()
        }
        save_file(tensors, draft / file.name, metadata={"format": "pt"})
        (draft / file.name).replace(folder / file.name)


def _card(name: str, spec: ModelSpec, trained: Trained, settings: Settings) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(trained.pairs.items()))
    curve = "\n".join(f"| {step} | {value:.4f} |" for step, value in trained.curve)
    taught = f"the scores of {settings.teacher}" if settings.teacher else "no teacher"
    return f"""# {name}

{spec.name}, fine-tuned by `visret train` on the pages of one index. Its licence is that of {spec.name}
({spec.license}); what the pages' own licences allow is for whoever trained it to know.

- Learned from: {sum(trained.pairs.values()):,} pairs of a question and a text or page that answers it, made from the
  pages ({kinds}), each with {settings.negatives} others that the model itself ranked highest, and {taught}.
- Changes: of rank {settings.rank}, merged into the weights. {settings.steps} steps of {settings.batch} questions, a
  rate of at most {settings.rate:g}, seed {settings.seed}.
- Measured on {trained.held_out:,} pairs of other pages, as nDCG@10 among what answers them and what is nearly right.
  The weights are those of step {trained.kept}.

| step | nDCG@10 |
|---|---|
{curve}

These pairs are no questions that people asked. `visret evaluate` measures the model on questions whose pages you know.
"""
