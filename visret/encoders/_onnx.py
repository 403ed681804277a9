"""Networks that onnxruntime runs. torch exports each once, and it is kept in the cache folder."""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from visret.errors import MissingExtra, WeightsError
from visret.folders import cache_folder, unwritable
from visret.models.weights import folder_sha256

if TYPE_CHECKING:
    from visret.encoders._bert import Bert
    from visret.encoders._sentence import Sentence

_FORMAT = 1  # of the exported files; another number exports again

logger = logging.getLogger("visret")


class Network:
    """A network that turns ids and mask, (b, n) int64, into vectors, (b, n, dim) float32, for any b and n.

    One call takes one thread. Several threads may call it at once.
    """

    def __init__(self, file: Path) -> None:
        runtime = _package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # it keeps one for each shape, and most batches have a new shape
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own have no common base
            raise WeightsError(f"{file}: damaged; remove it, and it is made again ({error})") from error
        self._file = file

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Run the network. mask: 0 for padding."""
        (vectors,) = self._session.run(None, {"ids": ids.numpy(), "mask": mask.numpy()})
        if vectors.dtype != np.float32 or vectors.ndim != 3 or vectors.shape[:2] != ids.shape:
            wrong = f"it gives {vectors.shape} {vectors.dtype} for {tuple(ids.shape)} ids"
            raise WeightsError(f"{self._file}: damaged; remove it, and it is made again ({wrong})")
        return torch.from_numpy(vectors)


def network(module: torch.nn.Module, folder: Path) -> Network:
    """Open the network of a checkpoint's folder from its file in the cache folder, exported from `module` if missing.

    module: takes ids and mask, as `Network` does. Raises MissingExtra without the packages, which are imported only
    if needed, and WeightsError for a network that cannot be exported.
    """
    kind = type(module).__name__.strip("_").lower()  # one folder may be read token by token and as a checkpoint
    file = cache_folder() / "onnx" / f"{folder_sha256(folder)}-{kind}-{_FORMAT}.onnx"
    if not file.is_file():
        _package("onnxruntime")  # fails before the work begins
        if reason := unwritable(file.parent):
            logger.warning("%s: the exported network cannot be kept there (%s); set VISRET_CACHE", file.parent, reason)
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as elsewhere:
                return Network(_exported(module, folder, Path(elsewhere, file.name)))
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}-{uuid.uuid4().hex}")
        try:
            _exported(module, folder, draft).replace(file)
        finally:
            draft.unlink(missing_ok=True)
    return Network(file)


def sentence_network(model: Bert | Sentence, folder: Path) -> Callable[[list[list[int]]], list[Tensor]]:
    """Return a function that computes what the sentence model in a folder does, by onnxruntime.

    It takes one sequence at a time, which is 10 % faster than a batch of nine.
    """
    run = network(_Padded(model), folder)

    def encode(sequences: list[list[int]]) -> list[Tensor]:
        rows = [torch.tensor([ids]) for ids in sequences]
        return [run(ids, torch.ones_like(ids))[0] for ids in rows]

    return encode


class _Padded(torch.nn.Module):  # type: ignore[misc]  # torch is not typed
    """A `Bert` for padded batches, in the form that torch exports."""

    def __init__(self, model: Bert | Sentence) -> None:
        super().__init__()
        self._model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self._model.padded(ids, mask)


def _exported(module: torch.nn.Module, folder: Path, file: Path) -> Path:
    try:
        _export(module, file)
    except torch.onnx.OnnxExporterError as error:
        raise WeightsError(f"{folder}: torch cannot export it to ONNX; leave out backend: onnx ({error})") from error
    return file


def _export(module: torch.nn.Module, file: Path) -> None:
    for name in ("onnx", "onnxscript"):
        _package(name)
    # Two tensors, since one that is given twice becomes one input; and no single row or column, which would become a
    # constant.
    ids, mask = torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8, dtype=torch.int64)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # they are about torch's own parts
        torch.onnx.export(
            module.eval(),
            (ids, mask),
            file,
            input_names=["ids", "mask"],
            output_names=["vectors"],
            dynamic_shapes=(sizes, sizes),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtra(f'backend: onnx needs {name}: pip install "visret[onnx]"') from error
