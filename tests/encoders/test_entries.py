"""Every entry of models.yaml that looks at pages: what it says is what the checkpoint's own processor makes of it."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
import pytest
import yaml
from PIL import Image
from support import tiny_vision

from visret import Retriever
from visret.encoders import _torch, load_encoder
from visret.models import registry
from visret.models.architectures import ARCHITECTURES

ENTRIES = [spec for spec in registry.specs() if spec.architecture in tiny_vision.CHECKPOINTS]
A4 = Image.new("RGB", (620, 877), "grey")


def test_every_architecture_that_looks_at_pages_is_tried_here():
    visual = {name for name, row in ARCHITECTURES.items() if (row.modality, row.task) == ("image", "encode")}
    assert visual - set(tiny_vision.CHECKPOINTS) == {"ColQwen2_5Omni"}  # which this transformers cannot construct


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("entries")
    with _torch.quiet():
        return {
            architecture: tiny_vision.CHECKPOINTS[architecture](root / architecture, layers=1, dim=16 * 4)
            for architecture in {spec.architecture for spec in ENTRIES}
        }


@pytest.mark.parametrize("spec", ENTRIES, ids=lambda spec: spec.name)
def test_questions_and_pages_are_said_as_the_entry_says(spec, folders):
    folder = folders[spec.architecture]
    here = dataclasses.replace(spec, source=str(folder), revision="", dim=registry.resolve(folder).dim)
    encoder = load_encoder(here, dtype="float32")
    with _torch.quiet():
        more = {"max_num_visual_tokens": here.options["max_patches"]} if "max_patches" in here.options else {}
        processor = tiny_vision.load_processor(folder, **more)

    # The whole question, put together by hand.
    suffix = here.options.get("query_suffix", "") * here.options.get("query_suffix_count", 10)
    said = f"{here.options['query_prefix']}where is it{suffix}"
    if spec.family == "colgemma":
        turn = [{"role": "user", "content": [{"type": "text", "text": said}]}]
        said = processor.tokenizer.apply_chat_template(turn, tokenize=False)
    elif spec.family == "colpali":
        said = f"{processor.tokenizer.bos_token}{said}"
    if spec.architecture in ("ColPaliForRetrieval", "ColQwen2ForRetrieval"):
        said += "\n"
    ids = encoder._query_features("where is it")["input_ids"][0].tolist()
    assert ids == processor.tokenizer(said)["input_ids"]

    if "longest_edge" in here.options:
        processor.image_processor.size["longest_edge"] = here.options["longest_edge"]
    features = encoder._page_features([A4])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # what colpali-engine does to keep a budget
        original = processor.process_images([A4])
    assert np.array_equal(features["input_ids"], original["input_ids"])
    assert np.array_equal(features["pixel_values"], original["pixel_values"])
    grid = encoder._places(features, 0).grid
    assert 0 < grid.rows * grid.cols <= (spec.page_tokens or math.inf)


def test_a_checkpoint_is_added_by_yaml_alone(tmp_path, monkeypatch, papers):
    with _torch.quiet():
        tiny_vision.CHECKPOINTS["ColPali"](tmp_path / "weights", layers=1)
    entry = {
        "family": "colpali",
        "source": "./weights",
        "revision": "",
        "modality": "image",
        "dim": 128,
        "license": "mit",
        "size_gb": 0.001,
        "options": {"query_prefix": "Query: ", "query_suffix_count": 4},
        "aliases": ["ours"],
    }
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"our-colpali": entry}))
    monkeypatch.setenv("VISRET_MODELS", str(tmp_path / "more.yaml"))
    with Retriever.create(tmp_path / "p.visret", model="ours") as retriever:
        assert retriever.add(papers).pages == 3
        hits = retriever.search("where is the red page", k=2)
        why = retriever.heatmap("where is the red page", hits[0])
        assert retriever.info()["preprocessing"]["query_suffix"] == "<pad>" * 4
    assert why.tokens[:3] == ("<bos>", "Q", "u")
    assert why.maps.shape[1:] == (32, 32)
    assert hits[0].score == pytest.approx(why.score, abs=1e-4)
