"""The parts that the trainers share: low-rank changes, checkpoints that hold them alone, the loss's scale, the curve.

It loads torch and its libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, inject_adapter_in_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.core_model_loading import revert_weight_conversion

from visret.errors import WeightsError
from visret.training.examples import Example
from visret.training.settings import Settings
from visret.training.trained import weight_files
from visret.types import ModelSpec

MEASURE = "eval_maxsim_ndcg@10"
"""The name that the trainers give to nDCG@10 on what is held out."""

SCALE = 50.0
"""The factor of a mean of cosines before the softmax: the temperature is .02."""

TEACHER_TEMPERATURE = 0.5
"""The temperature of a teacher's scores, in their standard deviations among the texts of one question."""

_EVALUATIONS = 10  # of a run, besides that before its first step
_CHANGES = "changes.safetensors"
_COMPLETE = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", _CHANGES)


class Learned(NamedTuple):
    """The result of a trainer.

    weights: those that differ from the checkpoint's, by their names there. curve: (step, nDCG@10), from step 0. kept:
    the step of the best changes, which are merged into the weights.
    """

    weights: Mapping[str, torch.Tensor]
    curve: Sequence[tuple[int, float]]
    kept: int


class ChangesAlone(Trainer):  # type: ignore[misc]  # not typed
    """A trainer whose checkpoints hold the changes alone."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002 - as there
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(_changes(self.model), folder / _CHANGES)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        changes = load_file(Path(checkpoint_path) / _CHANGES)
        _, unexpected = self.model.load_state_dict(changes, strict=False)
        if unexpected or changes.keys() != _changes(self.model).keys():
            raise WeightsError(f"{checkpoint_path}: of another model; remove the folder, and train again")

    def _load_best_model(self) -> None:
        """Leave it to `fit`, for which the changes before the first step may be the best."""


class _Narrator(TrainerCallback):  # type: ignore[misc]
    """A listener that passes on what the trainer logs, as lines."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:  # noqa: ARG002
        """Say the loss, or what was measured."""
        logs = logs or {}
        where = f"step {state.global_step:,} of {state.max_steps:,}"
        if "loss" in logs:
            self._say(f"{where}: loss {logs['loss']:.3f}")
        if MEASURE in logs:
            self._say(f"{where}: nDCG@10 {logs[MEASURE]:.4f} on what is kept to measure")


def arguments(work: Path, settings: Settings) -> dict[str, Any]:
    """Return the arguments that all trainers get."""
    every = max(1, settings.steps // _EVALUATIONS)
    return {
        "output_dir": str(work),
        "max_steps": settings.steps,
        "per_device_train_batch_size": settings.batch,
        "learning_rate": settings.rate,
        "warmup_steps": -(-settings.steps // 10),
        "weight_decay": 0.0,
        "seed": settings.seed,
        "eval_strategy": "steps",
        "eval_steps": every,
        "eval_on_start": _last_checkpoint(work) is None,
        "save_steps": every,
        "save_total_limit": 2,
        "logging_steps": every,
        "load_best_model_at_end": True,
        "metric_for_best_model": MEASURE,
        "greater_is_better": True,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def fit(
    trainer: Any, network: Any, spec: ModelSpec, progress: Callable[[str], None], *, merged: Sequence[str] = ()
) -> Learned:
    """Train from the last checkpoint, or from the beginning, and merge the best changes into a network of transformers.

    spec: the entry of the checkpoint. merged: layers that had changes of its own, as `merge` returned them. Raises
    WeightsError, before anything is learned, if the checkpoint's files have other names for what would be.
    """
    names = _stored_names(network, {*merged, *_changed(network)}, spec)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Narrator(progress))
    last = _last_checkpoint(Path(trainer.args.output_dir))
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    seen = {int(entry["step"]): float(entry[MEASURE]) for entry in trainer.state.log_history if MEASURE in entry}
    best = max(seen, key=lambda step: (seen[step], -step))
    if best:
        trainer._load_from_checkpoint(trainer.state.best_model_checkpoint)
    else:  # nothing that was learned is better than what was there
        _without_changes(trainer.model)
    merge(network)
    weights = {stored: network.get_parameter(name).detach() for name, stored in names.items()}
    return Learned(weights, sorted(seen.items()), best)


def add_changes(network: torch.nn.Module, settings: Settings, *, without: Sequence[str]) -> None:
    """Add changes of low rank, float32, to all linear layers but those in the parts `without`, by their names.

    All other weights stay as they are.
    """
    linear = [name for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)]
    layers = [name for name in linear if not set(name.split(".")) & set(without)]
    config = LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, lora_dropout=0.0, target_modules=layers)
    inject_adapter_in_model(config, network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def merge(network: torch.nn.Module) -> list[str]:
    """Add changes to the weights of layers, take away what holds them, and return the names of the layers."""
    changed = _changed(network)
    for name in changed:
        module = network.get_submodule(name)
        module.merge()
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, module.base_layer)
    if hasattr(network, "peft_config"):  # with it, peft would take later changes for a second adapter
        del network.peft_config
    return changed


def scaled(examples: Sequence[Example]) -> list[Example]:
    """Return examples with their teacher's scores in standard deviations within an example, over all examples."""
    scores = np.array([example.scores for example in examples], np.float32)
    spread = float(np.sqrt(np.square(scores - scores.mean(axis=1, keepdims=True)).mean())) or 1.0
    rows = (scores / np.float32(spread)).tolist()
    return [replace(example, scores=tuple(row)) for example, row in zip(examples, rows, strict=True)]


def apart(examples: Sequence[Example], **given: Any) -> NoDuplicatesBatchSampler:
    """Return what draws batches in which no page stands twice: it may be right for one question and not for another.

    given: the arguments of sentence-transformers' `NoDuplicatesBatchSampler`, but for its data.
    """
    columns = zip(*(example.pages for example in examples), strict=True)
    pages = Dataset.from_dict({f"page_{number}": list(column) for number, column in enumerate(columns)})
    return NoDuplicatesBatchSampler(pages, **given)


def _changed(network: torch.nn.Module) -> list[str]:
    """Return the names of the layers to which changes were added."""
    return [name for name, module in network.named_modules() if hasattr(module, "base_layer")]


def _stored_names(network: Any, layers: Iterable[str], spec: ModelSpec) -> dict[str, str]:
    """Return the names of these layers' weights, each with its name in the checkpoint's files."""
    stored: set[str] = set()
    for file in weight_files(spec):
        with safe_open(file, framework="pt") as opened:
            stored.update(opened.keys())
    names = {}
    for layer in sorted(layers):
        own = f"{layer}.weight"
        weight = network.get_submodule(layer).weight
        said = [own, f"{network.base_model_prefix}.{own}", *revert_weight_conversion(network, {own: weight})]
        found = next((one for one in said if one in stored), None)
        if found is None:
            raise WeightsError(f"{spec.name}: its files have no {' or '.join(dict.fromkeys(said))} to write to")
        names[own] = found
    return names


def _changes(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    named = model.named_parameters()
    return {name: parameter.detach().cpu().contiguous() for name, parameter in named if parameter.requires_grad}


def _without_changes(model: torch.nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(parameter)


def _last_checkpoint(work: Path) -> Path | None:
    """Return the last checkpoint that is complete; one that was being written when the run ended is not."""
    complete = [at for at in work.glob("checkpoint-*") if all((at / name).is_file() for name in _COMPLETE)]
    return max(complete, key=lambda at: int(at.name.rpartition("-")[2]), default=None)
