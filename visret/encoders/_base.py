"""The parts that all model families share: device and dtype, options, checks of their arguments, a page's words."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from visret.encoders import _languages
from visret.encoders._reading import Reading
from visret.errors import InvalidModelSpec, ShapeError, WeightsError
from visret.types import ModelSpec, Page

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")

AS_MADE = {"lengths": "as made"}
"""What `preprocessing` says of a model whose vectors are not made unit rows; nothing of the others."""

_COMMON_OPTIONS = {"weak_below"}  # no family reads it; the registry checks it

logger = logging.getLogger("visret")


class Place:
    """The device and the dtype with which pages are computed. torch says what "auto" means when that is first needed.

    eight_bit: whether "auto" may be int8, if the CPU is fastest at it; None for a model that cannot be computed in
    int8. Raises ShapeError for a dtype that is not known.
    """

    def __init__(self, device: str, dtype: str, *, eight_bit: bool | None = None) -> None:
        known = ("auto", *DTYPES, *["int8"] * (eight_bit is not None))
        if dtype not in known:  # a tuple: an index may say anything
            raise ShapeError(f"dtype must be {', '.join(known)}, got {dtype!r}")
        self._device = device
        self._dtype = dtype
        self._eight_bit = bool(eight_bit)

    @functools.cached_property
    def found(self) -> tuple[torch.device, torch.dtype]:
        """The device and the dtype, as torch has them."""
        from visret.encoders import _dtypes

        return _dtypes.place(self._device, self._dtype, eight_bit=self._eight_bit)

    @property
    def dtype(self) -> str:
        """The name of the dtype."""
        return self._dtype if self._dtype != "auto" else str(self.found[1]).removeprefix("torch.")

    def threads(self, asked: int | None) -> int:
        """Return the number of threads that encode pages; 0 on a GPU. asked: None leaves the choice to torch."""
        from visret.encoders import _torch

        return (asked or _torch.threads()) if self.found[0].type == "cpu" else 0


def options(spec: ModelSpec, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the family's options: `defaults`, replaced by what the entry says.

    A default of None stands for a whole number that need not be given, and `str` for such a text. Raises
    InvalidModelSpec for any other key or type.
    """
    for key, value in spec.options.items():
        if key in _COMMON_OPTIONS:
            continue
        if key not in defaults:
            known = ", ".join(sorted({*defaults, *_COMMON_OPTIONS}))
            raise InvalidModelSpec(
                f"{spec.name}, options, {key}: the family {spec.family} has no such option; it has {known}"
            )
        default = defaults[key]
        kind = int if default is None else str if default is str else type(default)
        if type(value) is not kind and value is not default:
            raise InvalidModelSpec(f"{spec.name}, options, {key}: must be {kind.__name__}, got {value!r}")
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            raise InvalidModelSpec(f"{spec.name}, options, {key}: must be at least 1, got {value!r}")
    return {key: spec.options.get(key, None if default is str else default) for key, default in defaults.items()}


def check_images(spec: ModelSpec, pages: Sequence[Page]) -> None:
    """Raise ShapeError for a page without an image."""
    for page in pages:
        if page.image is None:
            raise ShapeError(f"{page.ref}: {spec.name} looks at pages; this one has no image")


def check_dim(spec: ModelSpec, dim: int) -> None:
    """Raise WeightsError if a model's vectors are not as long as its entry says."""
    if dim != spec.dim:
        raise WeightsError(f"{spec.name}: its weights give vectors of {dim} dimensions, but its entry says {spec.dim}")


def word_boxes(page: Page) -> np.ndarray | None:
    """Return the boxes of `page.text.split()`, (w, 4) float32; None if the words of the page are not known."""
    if page.words is None:
        return None
    boxes = [word.box for word in page.words for _ in word.text.split()]
    return np.array(boxes, np.float32).reshape(-1, 4)


def unknown_words(spec: ModelSpec, reading: Reading, text: str) -> tuple[str, ...]:
    """Return a sentence about the words of a question that no piece of its reading stands for; () if there are none."""
    lost = [text[slice(*reading.spans[word])] for word in np.setdiff1d(np.arange(len(reading.spans)), reading.words)]
    if len(reading.ids):  # then invisible characters, such as zero-width spaces, need not be named
        lost = [word for word in lost if any(character.isprintable() for character in word)]
    if not lost:
        return ()
    words = ", ".join([f"{word[:30]!r}" for word in lost[:5]] + ["..."] * (len(lost) > 5))
    if len(reading.ids):
        return (f"{spec.name} does not know {words} in this question; the pages were ranked by its other words",)
    languages = " or ".join(_languages.NAMES.get(code, code) for code in spec.languages)
    remedy = f"ask in {languages}, or " if languages else ""
    return (
        f"{spec.name} knows no word of this question ({words}), so it cannot rank pages by meaning; "
        f"{remedy}index the documents with a model that knows its language",
    )
