"""Checks of what users pass in: numbers, names, JSON values, boxes and sizes, made plain or refused with a reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from enum import Enum
from operator import index
from pathlib import PurePath
from typing import Any

import numpy as np

from visret.errors import InvalidArgument, ShapeError

MAX_QUESTION = 10_000  # characters; the time of a search grows with them
SLACK = 1e-3  # of a page: how far rounding may move a box beyond its edge
BOX = "a box is (x0, y0, x1, y1) in fractions of the page, from 0 to 1, with x0 <= x1 and y0 <= y1"


def questions(texts: Sequence[str]) -> None:
    """Raise InvalidArgument for a question without words, and for one so long that all others would wait for it."""
    if isinstance(texts, str):
        raise InvalidArgument("a list of questions is expected; for one question give a list of one")
    for text in texts:
        if not text.strip():
            raise InvalidArgument(f"a question needs at least one word, got {text!r}")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InvalidArgument(f"a question is Unicode text, got half a character in {text[:80]!r}")
        if len(text) > MAX_QUESTION:
            raise InvalidArgument(f"a question has at most {MAX_QUESTION:,} characters, got {len(text):,}")


def whole(what: str, value: Any, *, least: int = 1) -> int:
    """Return a whole number, NumPy's included, as an int.

    Raises InvalidArgument for true and false, text, 2.0, and numbers below `least`.
    """
    try:
        number = least - 1 if isinstance(value, bool | np.bool_) else index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InvalidArgument(f"{what} must be a whole number, at least {least}, got {value!r}")
    return number


def name(value: Any) -> str:
    """Return the name of a document: text, or a whole number or a path as text.

    Raises InvalidArgument for anything else.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    raise InvalidArgument(f"the name of a document is text such as 'a.pdf', got {value!r}")


def plain(what: str, value: Any) -> Any:
    """Return a value as JSON can hold it.

    Scalars of NumPy and pandas become Python's, and missing ones (NaN, NaT, NA) become None. Dates and times become
    text in ISO 8601, paths text, members of an Enum their values, and tuples, sets and arrays lists.

    what: the name of the value in messages. Raises InvalidArgument for anything else.
    """
    if isinstance(value, Enum):
        return plain(what, value.value)
    if value is None or _is_missing(value):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str | PurePath):
        return str.__str__(value) if isinstance(value, str) else str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | np.floating) and math.isfinite(value):
        return float(value)
    if isinstance(value, np.datetime64):
        day = value.item()
        return (day if isinstance(day, date) else value.astype("datetime64[us]").item()).isoformat()
    if isinstance(value, np.bool_ | np.integer | np.str_):
        return value.item()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise InvalidArgument(f"{what}: {wrong[0]!r} cannot be a key; keys are text")
        return {str.__str__(key): plain(what, one) for key, one in value.items()}
    if isinstance(value, np.ndarray) and not value.ndim:
        return plain(what, value[()])
    if isinstance(value, set | frozenset):
        return sorted((plain(what, one) for one in value), key=repr)
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(what, one) for one in value]
    raise InvalidArgument(
        f"{what}: expected text, a number, true, false, null, a date, or lists and objects of these, got {value!r}"
    )


def metadata(what: str, value: Any) -> dict[str, Any]:
    """Return metadata as a JSON object. Raises InvalidArgument for anything else."""
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"metadata of {what} is a dictionary such as {{'year': 2024}}, got {value!r}")
    try:
        made: dict[str, Any] = plain(f"metadata of {what}", value)
    except RecursionError:
        raise InvalidArgument(f"metadata of {what} is nested too deeply") from None
    return made


def several(value: Any) -> list[Any]:
    """List the items of any iterable except text, bytes and mappings; for those, and anything else, the one value."""
    if isinstance(value, np.ndarray):
        return list(value.reshape(-1))
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return list(value)
    return [value]


def box(value: Any) -> tuple[float, float, float, float]:
    """Return a box in page fractions, clipped where it lies beyond the page by at most SLACK.

    Raises ShapeError for anything else.
    """
    try:
        x0, y0, x1, y1 = (float(part) for part in value)
    except (TypeError, ValueError):
        raise ShapeError(f"{BOX}; got {value!r}") from None
    if not (-SLACK <= x0 <= x1 + SLACK <= 1 + 2 * SLACK and -SLACK <= y0 <= y1 + SLACK <= 1 + 2 * SLACK):
        pixels = "; divide pixels by the width and height of the picture" if max(x0, y0, x1, y1) > 2 else ""
        raise ShapeError(f"{BOX}; got {(x0, y0, x1, y1)}{pixels}")
    x0, y0 = min(max(x0, 0.0), 1.0), min(max(y0, 0.0), 1.0)
    return x0, y0, min(max(x1, x0), 1.0), min(max(y1, y0), 1.0)


def boxes(value: np.ndarray) -> np.ndarray:
    """Check (n, 4) boxes as `box` does; rows of NaN, which lie nowhere, stay. Raises ShapeError for anything else."""
    if _all_fit(value):
        return value
    made = value.copy()
    for row in np.flatnonzero(~_fit(value)).tolist():
        made[row] = box(value[row].tolist())
    return made


def clipped(value: np.ndarray) -> np.ndarray:
    """Clip (n, 4) boxes that are stored already, since an older version or a stranger may have written wrong ones.

    Character spans (n, 2) stay as they are.
    """
    if value.shape[1] != 4 or _all_fit(value):
        return value
    made: np.ndarray = np.clip(np.nan_to_num(value, nan=0.0), 0, 1)
    made[:, 2:] = np.maximum(made[:, :2], made[:, 2:])
    made[np.isnan(value).all(axis=1)] = np.nan
    return made


def size(value: Any) -> tuple[float, float]:
    """Return width and height in points. Raises ShapeError unless both are positive and finite."""
    try:
        width, height = (float(part) for part in value)
        good = 0 < width < math.inf and 0 < height < math.inf
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ShapeError(f"the size of a page is its width and height in points (1/72 inch), positive; got {value!r}")
    return width, height


def _all_fit(value: np.ndarray) -> bool:
    """Return whether all of (n, 4) are boxes or lie nowhere. One quick test is enough for most pages."""
    if not len(value):
        return True
    inside = value.min() >= 0 and value.max() <= 1 and (value[:, :2] <= value[:, 2:]).all()
    return bool(inside or _fit(value).all())


def _fit(value: np.ndarray) -> np.ndarray:
    """Tell which of (n, 4) are boxes or lie nowhere: (n,) bool."""
    inside = ((value >= 0) & (value <= 1)).all(axis=1) & (value[:, :2] <= value[:, 2:]).all(axis=1)
    return np.asarray(inside | np.isnan(value).all(axis=1))


def _is_missing(value: Any) -> bool:
    """Return whether a value is NaN, NaT of NumPy or pandas, or NA of pandas, which is not imported for that."""
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return type(value).__name__ in ("NAType", "NaTType") and type(value).__module__.startswith("pandas.")
