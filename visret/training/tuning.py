"""Fine-tune the model of an index on the index's pages.

    trained = train(retriever, "model", Settings(teacher="quality"))     # goes on where an earlier call stopped

Only low-rank changes are learned (LoRA), so what the model knows stays, and a checkpoint takes a few megabytes. With a
teacher the loss is the divergence between the teacher's and the model's scores of a pair's text and its hard negatives;
without one, all other texts of a batch are wrong. Scores are as visret's: the mean over the tokens of the question.
A model that looks at pages learns in the same way, from the pictures of these pages.

The folder gets the changed weights under the names that the original has, so whatever loads the original loads it.
Until then it holds `.training`: the examples, the settings and the last two checkpoints.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from visret.errors import InvalidArgument, MissingExtra
from visret.folders import expanded, unwritable
from visret.retriever import Retriever
from visret.server.llm import LanguageModel
from visret.training.examples import Example, examples_of, loaded_teacher, looks_at_pages, windows_of
from visret.training.settings import Settings
from visret.training.trained import Trained, weight_files, write
from visret.training.written import Writer

__all__ = ["train"]

_WORK = ".training"  # hidden, so it is no part of what identifies the checkpoint
_MEASURED = 100  # questions, at most, for a model that looks at pages: they are encoded eleven times


def train(
    retriever: Retriever,
    folder: str | Path,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    *,
    model: LanguageModel | None = None,
    progress: Callable[[str], None] | None = None,
) -> Trained:
    """Fine-tune the model of an index on the index's pages, and write it to a folder, which `--model` takes.

    retriever: an index of a text model of token vectors, or of a model that looks at pages as patches. folder: new,
    empty, or left by an earlier call with the same settings and the same index, which is then gone on with. model: a
    language model that writes questions, too. progress: called with lines that say what is going on.

    Raises InvalidArgument for a model that cannot be trained here, a folder that holds something else, and an index
    with too little text; DocumentError for a page whose picture is needed and cannot be drawn; MissingExtra without the
    packages of the extra `train`.
    """
    from visret.encoders import _torch

    begun = time.monotonic()
    say = progress or (lambda _: None)
    windows_of(retriever)  # raises an error for what cannot be trained
    looks = looks_at_pages(retriever)
    _check_packages()
    folder = expanded(folder)
    spec = retriever.encoder.spec
    weight_files(spec)
    work = _work(
        folder,
        {"model": spec.name, "revision": spec.revision, "llm": model and model.name, **dataclasses.asdict(settings)},
    )
    examples = _examples(work / "examples.jsonl", retriever, settings, model, say)
    learned_from = [example for example in examples if not example.held_out]
    held_out = [example for example in examples if example.held_out][: _MEASURED if looks else None]
    with _torch.quiet():
        trainer = importlib.import_module(f"visret.training._{'picture' if looks else 'text'}_trainer")
        learned = trainer.run(retriever, work, settings, learned_from, held_out, say)
    trained = Trained(
        folder=str(folder),
        base=spec.name,
        pairs=dict(Counter(example.kind for example in learned_from)),
        held_out=len(held_out),
        curve=learned.curve,
        kept=learned.kept,
        seconds=time.monotonic() - begun,
    )
    write(folder, work, spec, learned.weights, trained, settings)
    shutil.rmtree(work)
    return trained


def _check_packages() -> None:
    from visret.encoders import _torch

    _torch.import_torchvision()  # which peft imports
    for name in ("peft", "datasets", "accelerate"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise MissingExtra(f'training needs {name}: pip install "visret[train]"') from error


def _work(folder: Path, chosen: Mapping[str, Any]) -> Path:
    """Return the folder of a run's state. Raises InvalidArgument unless it is new, or of a run with these settings."""
    work = folder / _WORK
    file = work / "settings.json"
    if folder.exists() and not (folder.is_dir() and (file.is_file() or not any(folder.iterdir()))):
        raise InvalidArgument(f"{folder} already holds something; name a new folder")
    if reason := unwritable(folder):
        raise InvalidArgument(f"{folder}: nothing can be written there ({reason}); name another folder")
    if not file.is_file():
        work.mkdir(parents=True, exist_ok=True)
        _write_whole(file, json.dumps(chosen))
    before = json.loads(file.read_text("utf-8"))
    if other := [name for name, value in chosen.items() if before.get(name) != value]:
        raise InvalidArgument(
            f"{folder} holds a run with another {other[0]} ({before.get(other[0])}, not {chosen[other[0]]}): "
            "go on with that, or name a new folder"
        )
    return work


def _examples(
    file: Path, retriever: Retriever, settings: Settings, model: LanguageModel | None, progress: Callable[[str], None]
) -> list[Example]:
    """Return the examples of a run. They are kept as they are made, so a run that was stopped goes on with the next."""
    if not file.is_file():
        draft = file.with_suffix(".part")
        made = draft.read_text("utf-8").split("\n")[:-1] if draft.is_file() else []  # without one that was cut off
        _write_whole(draft, "".join(f"{line}\n" for line in made))
        teacher = None if settings.teacher is None else loaded_teacher(settings.teacher, retriever)
        some = examples_of(
            retriever,
            most=settings.pairs,
            negatives=settings.negatives,
            seed=settings.seed,
            teacher=teacher,
            writer=None if model is None else Writer(model, file.with_name("written.jsonl")),
            written=settings.written,
            done=len(made),
            progress=lambda done, total: progress(f"{done:,} of {total:,} questions with their nearly right pages"),
        )
        with draft.open("a", encoding="utf-8") as kept:
            for examples in some:
                kept.write("".join(json.dumps(dataclasses.asdict(example)) + "\n" for example in examples))
                kept.flush()
        draft.replace(file)
    return [_example(json.loads(line)) for line in file.read_text("utf-8").splitlines()]


def _example(line: dict[str, Any]) -> Example:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in line.items()}
    return Example(**values)


def _write_whole(file: Path, text: str) -> None:
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_text(text, "utf-8")
    draft.replace(file)
