"""Every family that looks at pages, beside the library its checkpoints come from."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support import tiny_vision
from support.tiny_vision import CHECKPOINTS
from support.vectors import assert_same

from visret.encoders import _torch, load_encoder
from visret.errors import InvalidArgument, InvalidModelSpec, ShapeError, VisretError, WeightsError
from visret.explain import passages
from visret.models import registry
from visret.types import Page

PORTRAIT, LANDSCAPE, SQUARE, SMALL = (300, 400), (400, 300), (256, 256), (40, 60)
QUESTIONS = ["red", "where is the red circle of the sales report"]
SMALL_TILES = {"longest_edge": 1024}  # a quarter of the work


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The folder of an architecture's checkpoint, made when it is first asked for."""
    root, made = tmp_path_factory.mktemp("vision"), {}

    def folder(architecture):
        if architecture not in made:
            more = SMALL_TILES if "Idefics" in architecture or "ModernVBert" in architecture else {}
            with _torch.quiet():
                made[architecture] = CHECKPOINTS[architecture](root / architecture, **more)
        return made[architecture]

    return folder


@pytest.fixture(scope="session")
def encoders(folders):
    made = {}

    def encoder(architecture):
        if architecture not in made:
            made[architecture] = load_encoder(folders(architecture), dtype="float32")
        return made[architecture]

    return encoder


def load(folder, **options):
    return load_encoder(folder, options=options, dtype="float32")


def page(size, box=None, colour="white"):
    """A grey page, with a box in page fractions painted on it."""
    width, height = size
    image = Image.new("RGB", size, "grey")
    if box:
        x0, y0, x1, y1 = box
        image.paste(colour, (round(x0 * width), round(y0 * height), round(x1 * width), round(y1 * height)))
    return Page.from_image(image, doc="a")


def noise(size, seed=0):
    """A page of coloured squares, a twentieth of its size each."""
    drawn = np.random.default_rng(seed).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    return Page.from_image(Image.fromarray(drawn).resize(size, Image.Resampling.NEAREST), doc="a")


class Original:
    """The library a checkpoint comes from."""

    def __init__(self, folder):
        with _torch.quiet():
            self.model, self.processor = tiny_vision.load_original(folder)

    def page(self, image):
        """(n, d) of all tokens, and a mask of those of the picture."""
        features = self.processor.process_images([image])
        if type(self.model).__name__ == "ColQwen2ForRetrieval":
            features["position_ids"] = positions(self.model, features)
        config = getattr(self.model.config, "vlm_config", self.model.config)
        return self.run(features)[0], (features["input_ids"][0] == config.image_token_id).numpy()

    def queries(self, texts):
        return self.run(self.processor.process_queries(texts))

    def run(self, features):
        with torch.inference_mode():
            made = self.model(**features)
        return (made if isinstance(made, torch.Tensor) else made.embeddings).numpy()


def positions(model, features):
    """Of transformers' ColQwen2ForRetrieval, in three dimensions."""
    image = features["input_ids"] == model.config.vlm_config.image_token_id
    grid, mask = features["image_grid_thw"], features["attention_mask"]
    return model.vlm.get_rope_index(features["input_ids"], image.int(), image_grid_thw=grid, attention_mask=mask)[0]


def in_reading_order(vectors, grid, architecture):
    """The original library's patches (n, d) in their own order -> the grid's cells, then the others."""
    if "Idefics" not in architecture and "ModernVBert" not in architecture:
        return vectors
    cells = np.zeros(grid.rows * grid.cols, int)
    for row in range(grid.rows):
        for col in range(grid.cols):  # tile by tile, 8 x 8 in each
            tile = row // 8 * (grid.cols // 8) + col // 8
            cells[row * grid.cols + col] = tile * 64 + row % 8 * 8 + col % 8
    return np.concatenate([vectors[cells], vectors[len(cells) :]])


# ---- as the original


@pytest.mark.parametrize("architecture", CHECKPOINTS)
def test_vectors_are_those_of_the_original_library(encoders, folders, architecture):
    encoder, original = encoders(architecture), Original(folders(architecture))
    for size in (PORTRAIT, LANDSCAPE, SQUARE, SMALL):
        (made,) = encoder.encode_pages([noise(size)])
        vectors, image = original.page(noise(size).image)
        patches = in_reading_order(vectors[image], made.where, architecture)
        cells = made.where.rows * made.where.cols
        assert_same(made.vectors[:cells], patches[:cells])
        if len(patches) > cells:  # a thumbnail
            assert len(patches) == cells + 64
            rest = np.ones(len(vectors), bool)
            rest[np.flatnonzero(image)[:cells]] = False
            assert_same(made.vectors[cells:], vectors[rest])
        else:
            assert_same(made.vectors[cells:], vectors[~image])
    for text in QUESTIONS:
        assert_same(encoder.encode_queries([text])[0].vectors, original.queries([text])[0])


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["ColPali", "ColQwen2_5", "ColGemma3"])
def test_also_with_other_weights_and_sizes(architecture, tmp_path):
    with _torch.quiet():
        folder = CHECKPOINTS[architecture](tmp_path, seed=3, dim=96, layers=3)
    encoder, original = load_encoder(folder, dtype="float32"), Original(folder)
    (made,) = encoder.encode_pages([noise((517, 389), seed=1)])
    vectors, image = original.page(noise((517, 389), seed=1).image)
    assert_same(made.vectors, np.concatenate([vectors[image], vectors[~image]]))
    assert_same(encoder.encode_queries(["a table of sales"])[0].vectors, original.queries(["a table of sales"])[0])


def test_evie_attends_in_both_directions_as_in_mteb(encoders, folders):
    from mteb.models.model_implementations.evie_models import _enable_bidirectional_attention

    folder = folders("ColQwen3_5")
    encoder, original, causal = load(folder, bidirectional=True), Original(folder), encoders("ColQwen3_5")
    _enable_bidirectional_attention(original.model)
    pages = [noise(PORTRAIT), noise(LANDSCAPE, seed=1)]
    encoder._batch = 2  # so that one of them is padded
    for page, made in zip(pages, encoder.encode_pages(pages), strict=True):
        vectors, image = original.page(page.image)
        assert_same(made.vectors, np.concatenate([vectors[image], vectors[~image]]))
    (made,), (other,) = encoder.encode_queries([QUESTIONS[1]]), causal.encode_queries([QUESTIONS[1]])
    assert_same(made.vectors, original.queries([QUESTIONS[1]])[0])
    assert np.abs(made.vectors - other.vectors).max() > 1e-3
    assert encoder.preprocessing == {**causal.preprocessing, "bidirectional": True}
    with pytest.raises(InvalidModelSpec, match="bidirectional: only for ColQwen3_5, and this is ColQwen3; leave it"):
        load(folders("ColQwen3"), bidirectional=True)


def test_vectors_may_keep_the_lengths_that_the_checkpoint_gives_them(encoders, folders):
    """No class of these libraries gives them any; here they are made longer."""
    usual, encoder, unit = encoders("ColQwen2"), *(load(folders("ColQwen2"), normalised=way) for way in (False, True))
    for one in (encoder, unit):
        one._model.register_forward_hook(lambda model, given, made: made * torch.arange(1, made.shape[1] + 1)[:, None])
    for text in QUESTIONS:
        expected, longer = (one.encode_queries([text])[0].vectors for one in (usual, encoder))
        assert_same(longer, expected * np.arange(1, len(expected) + 1)[:, None], atol=1e-4)
        assert_same(unit.encode_queries([text])[0].vectors, expected)
    assert encoder.preprocessing == {**usual.preprocessing, "lengths": "as made"}
    assert unit.preprocessing == usual.preprocessing


# ---- places


@pytest.mark.parametrize("size", [PORTRAIT, LANDSCAPE])
@pytest.mark.parametrize("architecture", CHECKPOINTS)
def test_a_vector_is_where_its_patch_is(encoders, architecture, size):
    """Paint one cell, and that vector changes most: corners and the middle."""
    encoder = encoders(architecture)
    seen = seen_by(encoder) if architecture == "ColQwen3_5" else lambda one: encoder.encode_pages([one])[0].vectors
    (blank,) = encoder.encode_pages([page(size)])
    grid = blank.where
    assert (grid.rows > grid.cols) == (size == PORTRAIT) or grid.rows == grid.cols
    before = seen(page(size))
    cells = [(0, 0), (0, grid.cols - 1), (grid.rows - 1, 0), (grid.rows // 3, grid.cols // 2)]
    for (row, col), colour in zip(cells, ["white", "black"] * 2, strict=True):
        moved = np.linalg.norm(seen(page(size, grid.cell_box(row, col), colour)) - before, axis=1)
        assert divmod(int(moved[: grid.rows * grid.cols].argmax()), grid.cols) == (row, col)


@pytest.mark.parametrize("architecture", CHECKPOINTS)
def test_the_passage_of_a_page_is_the_block_that_is_painted(encoders, architecture):
    """A question that is like what the block changes finds the block: the region that stands out, as one box."""
    encoder = encoders(architecture)
    seen = seen_by(encoder) if architecture == "ColQwen3_5" else lambda one: encoder.encode_pages([one])[0].vectors
    (blank,) = encoder.encode_pages([page(LANDSCAPE)])
    grid = blank.where
    top, left = grid.rows // 2, grid.cols // 3
    bottom, right = min(grid.rows, top + 3), min(grid.cols, left + 3)
    box = (left / grid.cols, top / grid.rows, right / grid.cols, bottom / grid.rows)
    moved = np.linalg.norm(seen(page(LANDSCAPE, box, "black")) - seen(page(LANDSCAPE)), axis=1)
    (found,) = passages.best(blank, moved[: len(blank.vectors), None], blank.size_pt)
    x0, y0, x1, y1 = found.box
    common = max(0, min(x1, box[2]) - max(x0, box[0])) * max(0, min(y1, box[3]) - max(y0, box[1]))
    areas = (x1 - x0) * (y1 - y0) + (box[2] - box[0]) * (box[3] - box[1])
    assert common / (areas - common) > 0.5


def seen_by(encoder):
    """What the language model is given for each cell: linear attention smears it over the tokens that follow."""

    def seen(one):
        kept = {}
        hook = encoder._model.language_model.register_forward_pre_hook(
            lambda module, args, given: kept.update(given), with_kwargs=True
        )
        try:
            features = encoder._page_features([one.image])
            encoder._forward(features)
        finally:
            hook.remove()
        return kept["inputs_embeds"][0, encoder._places(features, 0).tokens].numpy()

    return seen


@pytest.mark.parametrize(("size", "rows", "cols"), [((1240, 1754), 4, 3), ((1700, 2200), 4, 4), ((600, 800), 4, 3)])
def test_tiles_are_counted_where_colpali_engine_miscounts_them(folders, size, rows, cols):
    encoder = load(folders("ColIdefics3"), longest_edge=2048)
    features = encoder._page_features([Image.new("RGB", size)])
    grid, tokens = encoder._places(features, 0)
    assert (grid.rows, grid.cols) == (8 * rows, 8 * cols)
    assert len(set(tokens.tolist())) == 64 * rows * cols
    width, height = size
    said = encoder._processor.get_n_patches((height, width), 64)
    assert (said == (grid.cols, grid.rows)) == (size == (600, 800))


def test_a_page_that_is_not_cut_is_one_tile(folders):
    encoder = load(folders("ColIdefics3"))
    encoder._processor.image_processor.do_image_splitting = False
    (made,) = encoder.encode_pages([page(PORTRAIT)])
    assert (made.where.rows, made.where.cols) == (8, 8)


@pytest.mark.parametrize(
    ("architecture", "options", "most"),
    [
        ("ColQwen2", {"max_patches": 40}, 40),
        ("ColQwen3", {"max_patches": 100}, 100),
        ("ColIdefics3", {"longest_edge": 512}, 64),
    ],
)
def test_the_image_budget_is_kept(folders, architecture, options, most):
    encoder = load(folders(architecture), **options)
    assert encoder.preprocessing.items() >= options.items()
    (made,) = encoder.encode_pages([page((600, 800))])
    assert most / 2 < made.where.rows * made.where.cols <= most


def test_the_text_around_a_page_can_be_left_out(encoders, folders):
    (whole,) = encoders("ColQwen2").encode_pages([noise(PORTRAIT)])
    encoder = load(folders("ColQwen2"), page_text=False)
    (made,) = encoder.encode_pages([noise(PORTRAIT)])
    assert encoder.preprocessing["page_text"] == "dropped"
    assert len(made.vectors) == made.where.rows * made.where.cols
    assert_same(made.vectors, whole.vectors[: len(made.vectors)])


# ---- batches


@pytest.mark.parametrize("architecture", CHECKPOINTS)
def test_a_batch_changes_nothing(encoders, monkeypatch, architecture):
    """Neither padding nor what was encoded before."""
    encoder = encoders(architecture)
    pages = [noise(PORTRAIT), noise(SMALL, 1), noise(LANDSCAPE, 2)]
    alone = [encoder.encode_pages([one])[0] for one in pages]
    questions = [encoder.encode_queries([text])[0] for text in QUESTIONS]
    monkeypatch.setattr(encoder, "_batch", 3)
    for one, together in zip(alone, encoder.encode_pages(pages), strict=True):
        assert (one.where.rows, one.where.cols) == (together.where.rows, together.where.cols)
        assert_same(one.vectors, together.vectors)
    for one, together in zip(questions, encoder.encode_queries(QUESTIONS), strict=True):
        assert_same(one.vectors, together.vectors)


def test_a_batch_that_does_not_fit_is_halved(encoders, monkeypatch):
    encoder = encoders("ColQwen2")
    pages = [noise(SMALL, seed) for seed in range(5)]
    expected = encoder.encode_pages(pages)
    encode, sizes = encoder._pages, []

    def on_a_small_gpu(some):
        sizes.append(len(some))
        if len(some) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return encode(some)

    monkeypatch.setattr(encoder, "_pages", on_a_small_gpu)
    monkeypatch.setattr(encoder, "_batch", 4)
    monkeypatch.setattr(encoder, "_grows", True)
    for made, one in zip(encoder.encode_pages(pages), expected, strict=True):
        assert_same(made.vectors, one.vectors)
    assert sizes == [4, 2, 2, 1]


# ---- questions


@pytest.mark.parametrize("architecture", CHECKPOINTS)
def test_only_the_words_of_a_question_are_content(encoders, architecture):
    (query,) = encoders(architecture).encode_queries(["the circle"])
    said = "".join(token for token, named in zip(query.tokens, query.content, strict=True) if named)
    assert said.replace(" ", "") == "thecircle"
    assert (~query.content).sum() >= (4 if architecture == "ColGemma3" else 10)


@pytest.mark.parametrize("architecture", CHECKPOINTS)
def test_a_control_token_in_a_question_is_text(encoders, architecture):
    encoder = encoders(architecture)
    controls = [str(token) for token in encoder._processor.tokenizer.added_tokens_decoder.values() if token.special]
    (query,) = encoder.encode_queries([f"where is {' '.join(controls[-3:])}?"])
    assert query.content.sum() > 6
    assert encoder._image_token not in encoder._query_features("x")["input_ids"]


@pytest.mark.parametrize(
    ("architecture", "options", "text"),
    [
        ("ColPali", {"query_prefix": "Query: ", "query_suffix_count": 3}, "<bos>Query: red<pad><pad><pad>"),
        ("ColQwen2", {"query_prefix": "Query: ", "query_suffix": ""}, "Query: red"),
        ("ColQwen2ForRetrieval", {"query_prefix": ""}, "red" + "<|endoftext|>" * 10 + "\n"),
        ("ColGemma3", {"query_prefix": ""}, "<bos><bos><start_of_turn>user\nred<end_of_turn>\n"),
    ],
)
def test_an_entry_may_say_how_questions_begin_and_end(folders, architecture, options, text):
    encoder = load(folders(architecture), **options)
    ids = encoder._query_features("red")["input_ids"][0]
    assert encoder._processor.tokenizer.decode(ids) == text


def test_what_an_entry_says_must_fit_the_checkpoint(folders):
    with pytest.raises(InvalidModelSpec, match="query_suffix: '<nothing>' is no token of this checkpoint"):
        load(folders("ColQwen2"), query_suffix="<nothing>")
    with pytest.raises(InvalidModelSpec, match="page_prompt: that of ColGemma3 is fixed"):
        load(folders("ColGemma3"), page_prompt="What is this?")
    with pytest.raises(InvalidModelSpec, match="max_patches"):
        load(folders("ColPali"), max_patches=40)


# ---- where the originals differ


def test_a_question_to_colpali_does_not_depend_on_others(encoders, folders):
    """colpali-engine's attention is bidirectional for a question alone, and causal beside a longer one."""
    original = Original(folders("ColPali"))
    alone, padded = original.queries(QUESTIONS[:1])[0], original.queries(QUESTIONS)[0]
    assert np.abs(alone - padded[: len(alone)]).max() > 0.01
    made = encoders("ColPali").encode_queries(QUESTIONS)[0].vectors
    assert_same(made, alone)
    other = encoders("ColPali").encode_queries(["red box"])[0].vectors
    assert np.abs(made[1] - other[1]).max() > 0.01  # "red" sees what follows it


def test_patches_have_positions_in_two_directions_in_both_libraries(encoders, folders, tmp_path):
    """The same weights as a ColQwen2 of colpali-engine give the same vectors; transformers' own positions do not."""
    shutil.copytree(folders("ColQwen2"), tmp_path / "twin")
    weights = load_file(folders("ColQwen2ForRetrieval") / "model.safetensors")
    names = {"vlm.": "", "embedding_proj_layer": "custom_text_proj"}
    for before, after in names.items():
        weights = {name.replace(before, after, 1): value for name, value in weights.items()}
    save_file(weights, tmp_path / "twin" / "model.safetensors", metadata={"format": "pt"})
    (made,) = encoders("ColQwen2ForRetrieval").encode_pages([noise(PORTRAIT)])
    (twin,) = load_encoder(tmp_path / "twin", dtype="float32").encode_pages([noise(PORTRAIT)])
    assert_same(made.vectors, twin.vectors)
    original = Original(folders("ColQwen2ForRetrieval"))
    flat = original.run(original.processor.process_images([noise(PORTRAIT).image]))[0]
    assert np.abs(np.sort(flat, axis=0) - np.sort(made.vectors, axis=0)).max() > 0.01


def test_omni_is_refused_where_it_cannot_be_built(folders, tmp_path):
    shutil.copytree(folders("ColQwen2_5"), tmp_path, dirs_exist_ok=True)
    config = (tmp_path / "config.json").read_text().replace('"ColQwen2_5"', '"ColQwen2_5Omni"')
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(WeightsError, match=r"pip install 'transformers<5\.21'"):
        load_encoder(tmp_path)


# ---- weights


@pytest.mark.parametrize("architecture", CHECKPOINTS)
def test_weights_must_be_exactly_the_model(folders, tmp_path, architecture):
    """The libraries draw at random what they do not find, with no more than a warning."""
    shutil.copytree(folders(architecture), tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    last = next(
        name for name in weights if "proj_layer.bias" in name or "text_proj.bias" in name or name == "linear.bias"
    )
    weights["older_name.bias"] = weights.pop(last)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=rf"missing keys: {last}; unexpected keys: older_name\.bias"):
        load_encoder(tmp_path)


# What published checkpoints call their tensors, from before transformers 4.52.
PUBLISHED = {
    "ColPali": [
        (r"^model\.model\.language_model\.", "model.language_model.model."),
        (r"^model\.model\.vision_tower\.(vision_model\.)?", "model.vision_tower.vision_model."),
        (r"^model\.model\.multi_modal_projector\.", "model.multi_modal_projector."),
    ],
    "ColQwen2": [(r"^language_model\.", "model.")],
    "ColQwen2_5": [(r"^language_model\.", "model.")],
}


def renamed(path, rules, prefix=""):
    weights = load_file(path)
    for before, after in rules:
        weights = {prefix + re.sub(before, after, name.removeprefix(prefix)): value for name, value in weights.items()}
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_tensors_are_found_under_their_published_names(encoders, folders, tmp_path, architecture):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(folders(architecture), base)
    added = tiny_vision.lora(adapter, base)
    whole = tiny_vision.merged(tmp_path / "merged", base, added)
    renamed(base / "model.safetensors", PUBLISHED[architecture])
    renamed(adapter / "adapter_model.safetensors", PUBLISHED[architecture][:1], prefix="base_model.model.")
    for folder, same in ((base, encoders(architecture)), (adapter, load_encoder(whole, dtype="float32"))):
        (query,) = load_encoder(folder, dtype="float32").encode_queries(["the red circle"])
        assert_same(query.vectors, same.encode_queries(["the red circle"])[0].vectors)


@pytest.mark.parametrize("architecture", [name for name in CHECKPOINTS if not name.endswith("ForRetrieval")])
def test_an_adapter_is_added_to_its_base(folders, tmp_path, architecture, monkeypatch):
    """Also one that names its base by a path from its own folder, wherever the program runs."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    base = tmp_path / "base"
    shutil.copytree(folders(architecture), base)
    added = tiny_vision.lora(tmp_path / "adapter", base, named="../base")
    whole = tiny_vision.merged(tmp_path / "merged", base, added)
    (query,) = load_encoder(tmp_path / "adapter", dtype="float32").encode_queries(["the red circle"])
    (expected,) = load_encoder(whole, dtype="float32").encode_queries(["the red circle"])
    (without,) = load_encoder(base, dtype="float32").encode_queries(["the red circle"])
    assert_same(query.vectors, expected.vectors)
    assert np.abs(query.vectors - without.vectors).max() > 0.1


@pytest.mark.parametrize("architecture", ["ColPali", "ColQwen2", "ColIdefics3"])
def test_an_adapter_that_fits_nothing_is_refused(folders, tmp_path, architecture):
    """The libraries load it as if it were there."""
    tiny_vision.lora(tmp_path, folders(architecture))
    weights = load_file(tmp_path / "adapter_model.safetensors")
    weights = {name.replace("q_proj", "qq_proj"): value for name, value in weights.items()}
    save_file(weights, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"missing keys: .*q_proj\.lora_.*unexpected keys: .*qq_proj"):
        load_encoder(tmp_path)


def test_an_entry_of_another_architecture_is_refused(folders):
    spec = registry.resolve(folders("ColQwen2"))
    with pytest.raises(WeightsError, match=r"holds a ColQwen2, but the entry .* says ColQwen3"):
        load_encoder(dataclasses.replace(spec, architecture="ColQwen3"))
    with pytest.raises(InvalidModelSpec, match=r"architecture: colqwen has ColQwen2, .*, got 'ColPali'"):
        load_encoder(dataclasses.replace(spec, architecture="ColPali"))


def test_four_bits_need_a_gpu(folders):
    with pytest.raises(VisretError, match="four_bit needs a CUDA GPU"):
        load(folders("ColQwen2"), four_bit=True)


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "least"), [("bfloat16", 0.995), ("float16", 0.9999)])
@pytest.mark.parametrize("architecture", ["ColPali", "ColQwen2", "ColIdefics3"])
def test_other_dtypes_are_nearly_the_same(encoders, folders, architecture, dtype, least):
    encoder = load_encoder(folders(architecture), dtype=dtype)
    assert encoder.preprocessing["dtype"] == dtype
    (made,), (exact,) = (some.encode_pages([noise(SMALL)]) for some in (encoder, encoders(architecture)))
    assert made.vectors.dtype == np.float32
    assert_same(np.linalg.norm(made.vectors, axis=1), 1)
    assert (made.vectors * exact.vectors).sum(axis=1).mean() > least
    (made,), (exact,) = (some.encode_queries(["red"]) for some in (encoder, encoders(architecture)))
    assert (made.vectors * exact.vectors).sum(axis=1).mean() > least


@pytest.mark.parametrize("architecture", ["ColPali", "ColGemma3"])
def test_what_it_cannot_read_is_refused(encoders, architecture):
    encoder, text = encoders(architecture), Page.from_text("red", doc="a")
    assert not encoder.can_read(text)
    with pytest.raises(ShapeError, match="no image"):
        encoder.encode_pages([text])
    with pytest.raises(InvalidArgument):
        encoder.encode_queries([""])
    assert math.isclose(np.linalg.norm(encoder.encode_queries(["red"])[0].vectors[0]), 1, rel_tol=1e-5)
