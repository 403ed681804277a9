"""Compaction: which segments are written again, and with what in them."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from visret.codec import CODECS, Codec, decode, encode
from visret.codec import fit as fit_codec
from visret.errors import IndexFormatError, InvalidArgument
from visret.index import embedded
from visret.index.catalogue import IndexModel, SegmentRow, parse_object
from visret.index.fields import VECTORS, Field, Packed, lacking, pack_text, pack_vectors
from visret.index.fitted import Fitted
from visret.index.layout import MERGED, TIERS
from visret.index.segment import Segment, open_segment, problems
from visret.reduction import Storage, fit_projection, project

Place = tuple[int, int]  # segment and row


def due(segments: Sequence[SegmentRow]) -> list[int]:
    """Return the numbers of the small segments to merge now; none where there are few. The rule is in layout.py."""
    alike: dict[tuple[int, _Kind], list[int]] = {}
    for row in segments:
        alike.setdefault((bisect_right(TIERS, live_bytes(row)), _kind(row)), []).append(row.number)
    many = [(tier, numbers) for (tier, _), numbers in alike.items() if tier < len(TIERS) and len(numbers) >= MERGED]
    return min(many, default=(0, []))[1]


def groups(segments: Sequence[SegmentRow], *, all_of_them: bool) -> list[list[int]]:
    """Group segments, by number, as `compact` puts them together; those that it would not change are left out."""
    found: list[list[SegmentRow]] = []
    size = TIERS[-1]
    for row in segments:
        if size + live_bytes(row) > TIERS[-1] or _kind(row) != _kind(found[-1][0]):
            found.append([])
            size = 0
        found[-1].append(row)
        size += live_bytes(row)
    kept = (group for group in found if all_of_them or len(group) > 1 or _changes(group[0]))
    return [[row.number for row in group] for group in kept]


_Kind = tuple[frozenset[str], frozenset[int]]


def _kind(row: SegmentRow) -> _Kind:
    """Return what segments must have in common to be put together: what they lack, and what was added to them."""
    return _without(row), embedded.numbers(parse_object(row.checksums))


def _without(row: SegmentRow) -> frozenset[str]:
    """Return the names of the fields that a segment lacks and that cannot be made from its others."""
    lacks = lacking(parse_object(row.checksums))
    return frozenset(field.name for field in lacks if not _can_be_made(field, lacks))


def _can_be_made(field: Field, lacks: Collection[Field]) -> bool:
    """Return whether a field can be made from what a segment stores, which lacks these fields."""
    return field.pack_text is not None or (field.pack_vectors is not None and VECTORS not in lacks)


def _changes(row: SegmentRow) -> bool:
    """Return whether a segment that is written again alone has fewer pages or more fields."""
    return row.live < row.pages or len(lacking(parse_object(row.checksums))) > len(_without(row))


def whole_page(segment: Segment, row: int) -> Packed:
    """Return a page as it is stored, together with what it lacks, if that can be made from its vectors or its text."""
    page, codec = segment.packed(row), segment.codec
    if any(field.pack_text is not None for field in segment.lacks):
        page |= pack_text(page)
    if segment.lacks and VECTORS not in segment.lacks:
        vectors = decode(VECTORS.joined(page, codec), codec)
        for field in segment.lacks:
            if field.pack_vectors is not None:
                page |= field.named(field.pack_vectors(vectors, field.codec(codec)))
    return page


def made_by_added(segments: Mapping[int, Segment], places: Sequence[Place], models: Mapping[int, IndexModel]) -> Packed:
    """Return what added models made of the pages in these places, as arrays of a segment; nothing is computed anew."""
    arrays: Packed = {}
    for number in sorted(segments[places[0][0]].added & models.keys()) if places else ():
        made = {at: segments[at].embedded(number, models[number]) for at in {segment for segment, _ in places}}
        arrays |= embedded.gathered(models[number], number, [made[segment].page(row) for segment, row in places])
    return arrays


def live_bytes(row: SegmentRow) -> int:
    """Estimate the bytes on disk of the pages that are still in the index."""
    return row.bytes * row.live // row.pages


@dataclass(frozen=True, eq=False)
class Change:
    """A change of stored vectors into others. storage, fitted: as the index has them afterwards.

    projection: from the stored dimensions to fewer; None: the same.
    """

    storage: Storage
    fitted: Fitted | None
    projection: np.ndarray | None

    def page(self, page: Packed, before: Codec) -> Packed:
        """Return the page with its vectors stored anew; what is made of them too, if they have fewer dimensions."""
        assert self.fitted is not None
        rest = {name: array for name, array in page.items() if name not in VECTORS.rows}
        vectors = decode(VECTORS.joined(page, before), before)
        if self.projection is not None:
            return rest | pack_vectors(vectors, replace(self.fitted, projection=self.projection))
        return rest | VECTORS.named(encode(vectors, self.fitted.codec))


def check_change(here: Storage, codec: str | None, dim: int | None, stored_dim: int) -> Storage | None:
    """Return the storage after a change, None if nothing changes. Raises InvalidArgument for what is impossible."""
    if codec is not None and codec not in CODECS:
        raise InvalidArgument(f"codec must be one of {', '.join(CODECS)}, got {codec!r}")
    again = "index the documents again in a new folder"
    if codec is not None and list(CODECS).index(codec) < list(CODECS).index(here.codec):
        raise InvalidArgument(f"{here.codec} has lost what {codec} would keep; for {codec}, {again}")
    if dim is not None and not 1 <= dim <= stored_dim:
        raise InvalidArgument(f"vectors of {stored_dim} dimensions cannot be given {dim}; for more, {again}")
    wanted = replace(here, codec=codec or here.codec, dim=here.dim if dim in (None, stored_dim) else dim)
    return None if wanted == here else wanted


def learn(before: Fitted, after: Storage, sample: np.ndarray) -> Change:
    """Learn what changes vectors stored one way into the other. sample: (S, d) of them, decoded."""
    projection, total = None, before.projection
    if after.dim is not None and after.dim < before.codec.dim:
        projection = fit_projection(sample, after.dim)
        # A question goes the whole way at once: lengths in between do not change a direction.
        total = projection if total is None else np.ascontiguousarray(total @ projection)
        sample = project(sample, projection)
    codec = before.codec
    if projection is not None or after.codec != codec.name:
        codec = fit_codec(after.codec, sample)
    learned = projection is not None or codec.needs_fit
    return Change(after, Fitted(codec, total, len(sample) if learned else before.vectors), projection)


def sample(segments: Mapping[int, Segment], places: Sequence[Place], vectors: int) -> np.ndarray:
    """Decode the vectors of random pages of the whole collection, about this many in all."""
    parts: list[np.ndarray] = []
    count = 0
    for at in np.random.default_rng(0).permutation(len(places)):
        if count >= vectors:
            break
        number, row = places[at]
        parts.append(segments[number].page(row).vectors)
        count += len(parts[-1])
    return np.concatenate(parts)


def open_segments(
    index: Path, rows: Sequence[SegmentRow], codec: Codec, models: Mapping[int, IndexModel]
) -> dict[int, Segment]:
    """Open segments, by number, and read all of them: damage must not get a new checksum."""
    found = {}
    for row in rows:
        if wrong := next(problems(index, row, codec, models), None):
            raise IndexFormatError(index, f"{wrong}; drop it with visret verify --repair")
        found[row.number] = open_segment(index, row, codec)
    return found


def live_places(connection: sqlite3.Connection, numbers: Sequence[int]) -> Iterator[Place]:
    """Yield the live rows of some segments, in order."""
    for number in numbers:
        yield from connection.execute("SELECT segment, row FROM pages WHERE segment = ? ORDER BY row", (number,))
