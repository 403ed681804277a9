"""The training of a text model itself: sentence-transformers' multi-vector trainer and losses. It loads torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.multi_vector_encoder import losses, scoring
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.multi_vector_encoder.trainer import MultiVectorEncoderTrainer
from sentence_transformers.multi_vector_encoder.training_args import MultiVectorEncoderTrainingArguments
from sentence_transformers.util.similarity import maxsim

from visret.encoders.colbert import ColbertEncoder
from visret.models import fetch
from visret.retriever import Retriever
from visret.training import _trainer
from visret.training._trainer import SCALE, Learned
from visret.training.examples import Example
from visret.training.settings import Settings

_MAX_IDS = 512  # ids of a text; a window has at most 400


class _TextTrainer(_trainer.ChangesAlone, MultiVectorEncoderTrainer):  # type: ignore[misc]  # not typed
    """The trainer of sentence-transformers, whose checkpoints hold the changes alone."""


def run(
    retriever: Retriever,
    work: Path,
    settings: Settings,
    learned: Sequence[Example],
    measured: Sequence[Example],
    progress: Callable[[str], None],
) -> Learned:
    """Train the checkpoint of an index, whose encoder itself stays as it is, and return what was learned."""
    torch.manual_seed(settings.seed)
    encoder = cast(ColbertEncoder, retriever.encoder)
    model = network_of(encoder)
    model.model_card_data.generate_widget_examples = False  # `visret train` writes a card of its own
    network = model[0].auto_model
    _trainer.add_changes(network, settings, without=["pooler"])  # which nothing reads
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    taught = learned[0].scores is not None
    prompts = encoder.preprocessing["prompts"]
    columns = ["question", *(f"text_{number}" for number in range(len(learned[0].texts)))]
    by_column = {name: prompts["query" if name == "question" else "document"] for name in columns}
    given = MultiVectorEncoderTrainingArguments(
        **_trainer.arguments(work, settings),
        prompts=by_column if any(by_column.values()) else None,
        batch_sampler=BatchSamplers.BATCH_SAMPLER if taught else partial(_apart, learned),
    )
    trainer = _TextTrainer(
        model=model,
        args=given,
        train_dataset=_dataset(learned, columns),
        loss=_loss(model, taught=taught),
        evaluator=_evaluator(measured),
    )
    return _trainer.fit(trainer, network, encoder.spec, progress)


def network_of(encoder: ColbertEncoder) -> MultiVectorEncoder:
    """Load an encoder's checkpoint for training, with the vectors that the encoder makes.

    A sentence model is read token by token, without vectors for its markers.
    """
    base = fetch.weights_folder(encoder.spec)
    if not encoder.spec.options.get("token_by_token"):
        return MultiVectorEncoder(str(base), local_files_only=True)
    network = Transformer(str(base))
    tokenizer = network.tokenizer
    network.max_seq_length = min(
        getattr(network.auto_model.config, "max_position_embeddings", _MAX_IDS), tokenizer.model_max_length, _MAX_IDS
    )
    markers = [tokenizer.cls_token, tokenizer.sep_token, tokenizer.bos_token, tokenizer.eos_token]
    mask = MultiVectorMask(list(dict.fromkeys(filter(None, markers))), skiplist_tasks=["query", "document"])
    modules = [network, mask, Normalize("token_embeddings")]
    return MultiVectorEncoder(modules=modules, prompts=dict(encoder.preprocessing["prompts"]))


def _loss(model: MultiVectorEncoder, *, taught: bool) -> torch.nn.Module:
    if not taught:
        return losses.MultiVectorMultipleNegativesRankingLoss(
            model, scale=SCALE, similarity_fct=scoring.mean_colbert_scores
        )
    return losses.MultiVectorDistillKLDivLoss(
        model,
        similarity_fct=partial(_scaled, SCALE),
        student_temperature=1.0,
        teacher_temperature=_trainer.TEACHER_TEMPERATURE,
    )


def _scaled(scale: float, *given: Any, **named: Any) -> torch.Tensor:
    return scale * scoring.mean_colbert_kd_scores(*given, **named)


def _dataset(examples: Sequence[Example], columns: Sequence[str]) -> Dataset:
    rows: dict[str, list[Any]] = {
        column: [(example.question, *example.texts)[at] for example in examples] for at, column in enumerate(columns)
    }
    if examples[0].scores is not None:
        rows["label"] = [list(example.scores or ()) for example in _trainer.scaled(examples)]
    return Dataset.from_dict(rows)


def _evaluator(examples: Sequence[Example]) -> MultiVectorInformationRetrievalEvaluator:
    """Return what ranks all texts of the examples for each question. All that stand on the right page are right."""
    pages = {text: page for example in examples for text, page in zip(example.texts, example.pages, strict=True)}
    return MultiVectorInformationRetrievalEvaluator(
        queries={str(number): example.question for number, example in enumerate(examples)},
        corpus={str(number): text for number, text in enumerate(pages)},
        relevant_docs={
            str(number): {str(at) for at, page in enumerate(pages.values()) if page == example.pages[0]}
            for number, example in enumerate(examples)
        },
        score_functions={"maxsim": maxsim},
        write_csv=False,
    )


def _apart(examples: Sequence[Example], dataset: Dataset, **given: Any) -> Any:  # noqa: ARG001 - as called
    return _trainer.apart(examples, **given)
