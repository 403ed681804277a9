import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from visret import registry
from visret.encoders import _torch, load_encoder
from visret.errors import InvalidQuery, ShapeError, WeightsError
from visret.types import Page

PORTRAIT, LANDSCAPE = (300, 400), (400, 300)


@pytest.fixture(scope="session")
def colqwen(checkpoints):
    return load_encoder(checkpoints / "colqwen2", dtype="float32")


def page(size, box=None, colour="white"):
    """A grey page, with a box in page fractions painted on it."""
    width, height = size
    image = Image.new("RGB", size, "grey")
    if box:
        x0, y0, x1, y1 = box
        image.paste(colour, (round(x0 * width), round(y0 * height), round(x1 * width), round(y1 * height)))
    return Page.from_image(image, doc="a")


def assert_same(a, b):
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("size", "rows", "cols"), [(PORTRAIT, 14, 11), (LANDSCAPE, 11, 14)])
def test_a_vector_is_where_its_patch_is(colqwen, size, rows, cols):
    """Paint one cell, and that vector changes most: corners and the middle, on portrait and landscape."""
    (blank,) = colqwen.encode_pages([page(size)])
    grid = blank.where
    assert (grid.rows, grid.cols) == (rows, cols)
    cells = [(0, 0), (0, cols - 1), (rows - 1, 0), (rows - 1, cols - 1), (4, 7), (7, 4)]
    painted = [
        page(size, grid.cell_box(row, col), colour)
        for (row, col), colour in zip(cells, ["white", "black"] * 3, strict=True)
    ]
    for cell, made in zip(cells, colqwen.encode_pages(painted), strict=True):
        moved = np.linalg.norm(made.vectors - blank.vectors, axis=1)
        assert divmod(int(moved.argmax()), cols) == cell


def test_patches_first_and_then_the_prompt(colqwen):
    (made,) = colqwen.encode_pages([page(PORTRAIT)])
    text = "<|im_start|>user\n<|vision_start|><|vision_end|>Describe the image.<|im_end|><|endoftext|>"
    prompt = colqwen._processor.tokenizer(text)["input_ids"]
    assert len(made.vectors) == made.where.rows * made.where.cols + len(prompt)
    assert made.where.cells is None
    assert_same(np.linalg.norm(made.vectors, axis=1), 1)


def test_a_batch_changes_nothing(colqwen, monkeypatch):
    """Left padding of pages of other sizes, and of other questions."""
    monkeypatch.setattr(colqwen, "_batch", 3)
    pages = [page(PORTRAIT, (0.1, 0.1, 0.5, 0.2)), page((100, 60)), page(LANDSCAPE, (0, 0, 0.3, 0.3), "black")]
    for one, together in zip(pages, colqwen.encode_pages(pages), strict=True):
        (alone,) = colqwen.encode_pages([one])
        assert (alone.where.rows, alone.where.cols) == (together.where.rows, together.where.cols)
        assert_same(alone.vectors, together.vectors)
    questions = ["red", "where is the red circle of the sales report"]
    for question, together in zip(questions, colqwen.encode_queries(questions), strict=True):
        assert_same(colqwen.encode_queries([question])[0].vectors, together.vectors)


def test_a_question_has_its_augmentation_tokens(checkpoints, colqwen):

    (query,) = colqwen.encode_queries(["the circle"])
    assert query.tokens[-11:] == ("circle", *["<|endoftext|>"] * 10)
    assert query.content.tolist() == [True] * (len(query.tokens) - 10) + [False] * 10
    with _torch.quiet():
        from colpali_engine.models import ColQwen2, ColQwen2Processor

        model = ColQwen2.from_pretrained(checkpoints / "colqwen2").eval()
        processor = ColQwen2Processor.from_pretrained(checkpoints / "colqwen2")
    with torch.inference_mode():
        assert_same(query.vectors, model(**processor.process_queries(["the circle"]))[0].numpy())


def test_a_control_token_in_a_question_is_text(colqwen):
    (query,) = colqwen.encode_queries(["where is <|image_pad|>?"])
    assert query.content.sum() > 6


def test_the_image_budget_is_kept(checkpoints):
    spec = dataclasses.replace(registry.resolve(checkpoints / "colqwen2"), options={"max_patches": 40})
    encoder = load_encoder(spec)
    assert encoder.preprocessing["max_patches"] == 40
    (made,) = encoder.encode_pages([page((600, 800))])
    assert 20 < made.where.rows * made.where.cols <= 40


def test_weights_must_be_exactly_the_model(checkpoints, tmp_path):
    shutil.copytree(checkpoints / "colqwen2", tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    weights["custom_text_projection.bias"] = weights.pop("custom_text_proj.bias")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        WeightsError, match=r"missing keys: custom_text_proj\.bias; unexpected keys: custom_text_projection\.bias"
    ):
        load_encoder(tmp_path)


def test_what_it_cannot_read_is_refused(colqwen):
    text = Page.from_text("red", doc="a")
    assert not colqwen.can_read(text)
    with pytest.raises(ShapeError, match="no image"):
        colqwen.encode_pages([text])
    with pytest.raises(InvalidQuery):
        colqwen.encode_queries([""])


def adapter(checkpoints, folder, *, layer="q_proj"):
    """A LoRA adapter of `colqwen2`, named as published ones are; returns what it adds to the weights of the base."""
    rank, alpha = 2, 4
    for file in (checkpoints / "colqwen2").glob("*.json"):
        shutil.copy(file, folder)
    (folder / "config.json").unlink()
    base = load_file(checkpoints / "colqwen2" / "model.safetensors")
    weights, added = {}, {}
    targets = {
        "custom_text_proj": "custom_text_proj.weight",
        f"model.layers.1.self_attn.{layer}": "language_model.layers.1.self_attn.q_proj.weight",
    }
    for name, ours in targets.items():
        rows, cols = base[ours].shape
        a, b = torch.randn(rank, cols), torch.randn(rows, rank)
        weights |= {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b}
        added[ours] = b @ a * (alpha / rank)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(checkpoints / "colqwen2"),
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": "custom_text_proj|.*language_model.layers.1.self_attn.q_proj",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return added


def test_an_adapter_is_added_to_its_base(checkpoints, tmp_path):
    lora, merged = tmp_path / "lora", tmp_path / "merged"
    lora.mkdir()
    added = adapter(checkpoints, lora)
    shutil.copytree(checkpoints / "colqwen2", merged)
    weights = load_file(merged / "model.safetensors")
    for name, value in added.items():
        weights[name] += value
    save_file(weights, merged / "model.safetensors", metadata={"format": "pt"})
    (query,) = load_encoder(lora, dtype="float32").encode_queries(["the red circle"])
    (expected,) = load_encoder(merged, dtype="float32").encode_queries(["the red circle"])
    assert_same(query.vectors, expected.vectors)


def test_an_adapter_that_fits_nothing_is_refused(checkpoints, tmp_path):
    """The libraries load it as if it were there."""
    adapter(checkpoints, tmp_path, layer="qq_proj")
    with pytest.raises(WeightsError, match=r"missing keys: .*q_proj\.lora_.*unexpected keys: .*qq_proj"):
        load_encoder(tmp_path)
