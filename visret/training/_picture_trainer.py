"""The training of a model that looks at pages: colpali-engine's loss over the encoder's own network. It loads torch.

A page or a question is computed alone, exactly as the encoder does, so no padding is learned; what a page's
computation needs for its gradients is computed again instead of kept, so memory grows by a page's vectors only. The
part of the network that sees is not changed, as in colpali-engine's own recipes: changes go to the language model
behind it and to the last projection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from colpali_engine.loss import ColbertNegativeCELoss
from colpali_engine.utils.maxsim import maxsim_kd
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from visret.encoders import load_encoder
from visret.encoders._patches import PatchEncoder
from visret.evaluate import ndcg
from visret.maxsim import reference
from visret.retriever import Retriever
from visret.training import _trainer
from visret.training._trainer import SCALE, Learned
from visret.training.examples import Example
from visret.training.settings import Settings
from visret.types import PageRef

_AT_ONCE = 16  # pages whose pictures are held while they are measured
_SEES = ("visual", "vision_tower", "vision_model")  # the parts that see, by name


class _PictureTrainer(_trainer.ChangesAlone):
    """A trainer of transformers whose batches are examples, and which measures with the encoder."""

    def __init__(self, encoder: PatchEncoder, retriever: Retriever, **given: Any) -> None:
        super().__init__(model=encoder.network, **given)
        self._encoder = encoder
        self._retriever = retriever
        self._loss = ColbertNegativeCELoss(temperature=1 / SCALE, norm_tol=float("inf"))  # it prints what is beyond

    def get_train_dataloader(self) -> Any:
        """Return the batches: lists of examples, among whose pages none stands twice."""
        sampler = _trainer.apart(
            self.train_dataset,
            batch_size=self.args.train_batch_size,
            drop_last=False,
            generator=torch.Generator(),  # which it sets by the seed and the epoch, so that a stopped run goes on
            seed=self.args.seed,
        )
        loader = DataLoader(self.train_dataset, batch_sampler=sampler, collate_fn=list)
        return self.accelerator.prepare(loader)

    def compute_loss(
        self,
        model: Any,
        inputs: Sequence[Example],
        return_outputs: bool = False,  # noqa: ARG002 - as there
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> torch.Tensor:
        """Return the loss of a batch."""
        model.eval()  # as the encoder computes; gradients pass all the same
        questions = [self._encoder.question_tensor(self._encoder.question_features(one.question)) for one in inputs]
        asked = pad_sequence(questions, batch_first=True)  # with zeros, which add nothing to a score
        pages = {ref: self._page(ref) for one in inputs for ref in one.refs}
        longest = max(len(rows) for rows in pages.values())
        # by its last vector, which changes no maximum
        filled = {ref: torch.cat([rows, rows[-1:].expand(longest - len(rows), -1)]) for ref, rows in pages.items()}
        shown = torch.stack([torch.stack([filled[ref] for ref in one.refs]) for one in inputs])
        taught = [one.scores for one in inputs if one.scores is not None]
        if not taught:
            loss: torch.Tensor = self._loss(asked, shown[:, 0], shown[:, 1:])
            return loss
        lengths = torch.tensor([len(rows) for rows in questions], device=asked.device)
        scores = SCALE * maxsim_kd(asked, shown) / lengths[:, None]
        said = torch.tensor(taught, device=asked.device) / _trainer.TEACHER_TEMPERATURE
        return torch.nn.functional.kl_div(scores.log_softmax(1), said.softmax(1), reduction="batchmean")

    def _page(self, ref: PageRef) -> torch.Tensor:
        features = self._encoder.page_features(self._retriever.page(ref))
        rows: torch.Tensor = checkpoint(self._encoder.page_tensor, features, ref, use_reentrant=False)
        return rows

    def evaluate(
        self,
        eval_dataset: Any = None,  # noqa: ARG002 - as there
        ignore_keys: Any = None,  # noqa: ARG002
        metric_key_prefix: str = "eval",  # noqa: ARG002
    ) -> dict[str, float]:
        """Measure nDCG@10: all pages of the examples that are held out are ranked for each of their questions."""
        self.model.eval()
        refs = list(dict.fromkeys(ref for one in self.eval_dataset for ref in one.refs))
        some = [refs[start : start + _AT_ONCE] for start in range(0, len(refs), _AT_ONCE)]
        read = [
            one.vectors for batch in some for one in self._encoder.encode_pages(list(map(self._retriever.page, batch)))
        ]
        offsets = np.cumsum([0, *map(len, read)])
        vectors = np.concatenate(read)
        gains = []
        for one in self.eval_dataset:
            (asked,) = self._encoder.encode_queries([one.question])
            order = np.argsort(-reference.page_scores(asked.vectors, vectors, offsets), kind="stable")
            gains.append(ndcg([refs[at] for at in order], {one.refs[0]}, k=10))
        found = {_trainer.MEASURE: float(np.mean(gains))}
        self.log(found)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found


def run(
    retriever: Retriever,
    work: Path,
    settings: Settings,
    learned: Sequence[Example],
    measured: Sequence[Example],
    progress: Callable[[str], None],
) -> Learned:
    """Train the model of an index, whose encoder itself stays as it is, and return what was learned."""
    torch.manual_seed(settings.seed)
    known = cast(PatchEncoder, retriever.encoder)
    dtype, device = known.preprocessing["dtype"], str(known.network.device)
    encoder = cast(PatchEncoder, load_encoder(known.spec, dtype=dtype, device=device))
    merged = _trainer.merge(encoder.network)  # an adapter, which is part of what the checkpoint is
    _trainer.add_changes(encoder.network, settings, without=_SEES)
    trainer = _PictureTrainer(
        encoder,
        retriever,
        args=TrainingArguments(
            **_trainer.arguments(work, settings),
            remove_unused_columns=False,
            use_cpu=known.network.device.type == "cpu",
        ),
        train_dataset=learned if learned[0].scores is None else _trainer.scaled(learned),
        eval_dataset=measured,
    )
    return _trainer.fit(trainer, encoder.network, known.spec, progress, merged=merged)
