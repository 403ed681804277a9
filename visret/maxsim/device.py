"""Pages in the memory of a GPU, or of any device that torch knows, which scores them there.

The stored rows lie there compressed, as `visret.codec` made them, and are scanned block by block:

    widen      the rows of a block become integers of 8 bits, and then the type that is multiplied; float rows stay as
               they are
    multiply   the rows are multiplied with all tokens of all queries
    maximum    the maximum over the rows of each page is taken, per token. The pages of a block have nearly the same
               length; shorter ones repeat their last row, which cannot change a maximum
    sum        the maxima times the tokens' lengths are summed, per query

Stored integers are scanned in float16 on a GPU and in float32 on a CPU, and float rows in float32. Exact scores are
float64 throughout and rounded once, so that neither TF32 nor autocast nor the division into blocks changes them.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visret.codec import Codec, Rows, decode, levels, unpacked
from visret.errors import VisretError
from visret.maxsim.packed import PackedPages, _scan_parts

SCAN_SLACK = 1 / 300  # for each token of unit length: query and products have 11 bits in float16, and in TF32
UPLOAD = 64 << 20  # bytes copied at a time, since rows may be mapped from a file larger than memory


@dataclass(frozen=True, eq=False)
class DevicePages(PackedPages):
    """PackedPages whose rows lie in the memory of a torch device. `on_device` makes them.

    rows: tensors. table: (256,) int32 or int64, the 4 or 8 dimensions that a byte of codes stands for; None if codes
    are not packed. centroids: (K, d) int8 or None. half: whether to scan in float16. memory: about how many bytes a
    scan may take on the device.
    """

    table: Any = None
    centroids: Any = None
    half: bool = False
    memory: int = 256 << 20

    def __post_init__(self) -> None:
        pass  # `on_device` checks arrays, not tensors

    @property
    def is_float(self) -> bool:
        """True if a scan is exact. Here it never is, since float32 products are TF32 if the program asks for that."""
        return False

    def scores(self, query: np.ndarray, only: np.ndarray | None = None) -> np.ndarray:
        """Scan the pages for a query (m, d) float32: (P,) float32, or (len(only),) for the page numbers in `only`.

        The scan is in float32 or, with `half`, in float16, in which query and products have 11 bits. A score is then
        within m / 300 of the exact one for unit vectors; a tenth of that is observed. `top_k` settles ranks and scores
        exactly.
        """
        return super().scores(query, only)

    def _prepare(
        self,
        queries: Sequence[np.ndarray],
        only: np.ndarray | None,
        *,
        exact: bool,
        laid_out: dict[Any, Any],  # noqa: ARG002 - for parts that this CPU scans
    ) -> tuple[Callable[[], None], int, np.ndarray]:
        starts, ends = self._bounds(only)
        checked = [self._check(query) for query in queries]
        out = np.empty((len(starts), len(queries)), np.float32)

        def scan() -> None:
            # Sorted by length, so that the pages of a block have nearly the same; equal ones in the order asked for.
            order = np.argsort(ends - starts, kind="stable")
            out[order] = self._score(starts[order], ends[order], checked, exact=exact)

        return scan, 1, out

    def _score(self, starts: np.ndarray, ends: np.ndarray, queries: Sequence[np.ndarray], *, exact: bool) -> np.ndarray:
        """Score pages of rising length: (pages, queries) float32."""
        import torch

        rows: Any = self.rows
        device = rows.codes.device
        widest = torch.float32 if device.type in ("mps", "xpu") else torch.float64  # those may have no float64
        kind = widest if exact else torch.float16 if self.half else torch.float32
        wide = widest if exact else torch.float32
        tokens, lengths = (torch.from_numpy(array) for array in _lay_out(queries))
        tokens, lengths = tokens.to(kind).to(device), lengths.to(widest).to(device)
        first_rows, last_rows = torch.from_numpy(starts).to(device), torch.from_numpy(ends - 1).to(device)
        scores = torch.empty((len(starts), len(queries)), dtype=torch.float32, device=device)
        most = self._block_rows(tokens, wide)
        for first, last in _blocks(ends - starts, most):
            longest = int(ends[last - 1] - starts[last - 1])
            best: Any = None
            for position in range(0, longest, most):  # there is more than one only if a page is longer than a block
                count = min(most, longest - position)
                if ends[first] - starts[first] == longest and (np.diff(starts[first:last]) == longest).all():
                    begin = int(starts[first]) + position
                    at = slice(begin, begin + (last - first) * count)
                else:
                    positions = torch.arange(position, position + count, device=device)
                    at = torch.minimum(first_rows[first:last, None] + positions, last_rows[first:last, None]).flatten()
                similar = self._vectors(at, kind) @ tokens
                if rows.scales is not None:
                    similar = similar * _take(rows.scales, at).to(wide)[:, None]
                highest = similar.view(last - first, count, -1).amax(1)
                best = highest if best is None else torch.maximum(best, highest)
            scores[first:last] = best.to(widest) @ lengths
        return np.asarray(scores.cpu())

    def _vectors(self, at: Any, kind: Any) -> Any:
        """Return some rows without their scales: (n, d) of the torch type `kind`.

        If stored rows are integers, these are whole numbers up to 127, which are exact in any type.
        """
        import torch

        codes = _take(self.rows.codes, at)
        if self.table is not None:
            codes = self.table.index_select(0, codes.flatten().int()).view(codes.shape).view(torch.int8)[:, : self.dim]
        if self.centroids is not None:
            codes = codes + self.centroids.index_select(0, _take(self.rows.centroids, at).int() & 0xFFFF)
        return codes.to(kind)

    def _block_rows(self, tokens: Any, wide: Any) -> int:
        """Return how many rows may be scanned at a time."""
        widened = self.codec.bytes_a_vector + self.dim * (2 + tokens.itemsize)
        products = tokens.shape[1] * (tokens.itemsize + 2 * wide.itemsize)
        return max(1, self.memory // int(widened + products + 24))  # 24 bytes are for the numbers of rows


def on_device(rows: Rows, offsets: np.ndarray, codec: Codec, device: str = "cuda") -> PackedPages:
    """Copy stored rows to a device. rows, offsets, codec: as PackedPages takes them.

    device: any name that torch knows ("cuda", "cuda:1", "mps", "cpu"). Raises VisretError if there is no such device,
    or it has too little memory. A device that does not score as MaxSim is defined is given up with a warning: pages
    then stay in memory, and this CPU scores them.
    """
    import torch

    checked = PackedPages(rows, np.ascontiguousarray(offsets, np.int64), codec)
    try:
        half = rows.codes.dtype == np.uint8 and torch.device(device).type != "cpu"
        for kind in (True, False) if half else (False,):
            if _agrees(device, codec.name, codec.dim, kind):
                return _laid(rows, checked.offsets, codec, device, half=kind)
        return checked
    except torch.OutOfMemoryError as error:
        size = len(rows.codes) * codec.bytes_a_vector / 1e9
        raise VisretError(f"{size:.1f} GB of rows do not fit on {device}: store them with a smaller codec") from error
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise VisretError(f"torch cannot use {device!r} here ({reason}); device='cpu' always works") from error


def _laid(rows: Rows, offsets: np.ndarray, codec: Codec, device: str, *, half: bool) -> DevicePages:
    import torch

    place = torch.device(device)
    table = _table(codec)
    return DevicePages(
        _upload(rows, codec, place),
        offsets,
        codec,
        threads=1,  # the device has threads of its own
        table=None if table is None else torch.from_numpy(table).to(place),
        centroids=None if codec.centroids is None else torch.tensor(codec.centroids, device=place),
        half=half,
        memory=(8 if place.type == "cpu" else 256) << 20,
    )


@functools.cache
def _agrees(device: str, codec: str, dim: int, half: bool) -> bool:
    """Return whether a device scores sample pages as defined: exactly, and in a scan within the error of float16."""
    from visret.maxsim import _check

    rows, fitted, offsets = _check.sample_pages(codec, dim)
    pages = _laid(rows, offsets, fitted, device, half=half)
    queries = _check.sample_queries(20, dim)
    stored = decode(rows, fitted)
    truth = _check.definition(stored, offsets, queries)
    tokens = np.array([len(query) for query in queries])
    for exact, slack in ((True, _check.NEAR), (False, SCAN_SLACK * float(np.linalg.norm(stored, axis=1).max()))):
        found = _scan_parts([(pages, None)], queries, exact=exact)[0]
        if difference := _check.told(found, truth, slack * tokens):
            kind = "exact scores" if exact else f"scans in {'float16' if half else 'float32'}"
            warnings.warn(
                f"{device}: {kind} of {codec} rows of {dim} dimensions are wrong here: {difference}. Another way takes "
                "its place. Please report this, with the output of: visret doctor",
                RuntimeWarning,
                stacklevel=4,
            )
            return False
    return True


def _upload(rows: Rows, codec: Codec, device: Any) -> Rows:
    """Copy the arrays to tensors.

    Codes of the codec int8 become int8, and numbers of centroids int16, since torch hardly supports uint16.
    """
    import torch

    def converted(name: str, some: np.ndarray) -> Any:
        if name == "codes" and codec.form.is_biased:
            return (some ^ np.uint8(128)).view(np.int8)
        if name == "centroids":
            assert codec.centroids is not None
            return np.minimum(some, len(codec.centroids) - 1).view(np.int16)  # a damaged file may hold any number
        return np.array(some)

    tensors = {}
    for name, array in rows._asdict().items():
        if array is None:
            continue
        kind = torch.from_numpy(converted(name, array[:0])).dtype
        tensors[name] = torch.empty(array.shape, dtype=kind, device=device)
        step = max(1, UPLOAD // (array[:1].nbytes or 1))
        for start in range(0, len(array), step):
            tensors[name][start : start + step] = torch.from_numpy(converted(name, array[start : start + step]))
    return Rows(**tensors)


def _table(codec: Codec) -> np.ndarray | None:
    """Return what each byte of packed codes stands for: (256,) integers whose bytes are the int8 values."""
    if not codec.form.is_packed:
        return None
    each = 8 // codec.form.bits
    numbers = unpacked(np.arange(256, dtype=np.uint8)[:, None], codec.name, each)
    return np.ascontiguousarray(levels(codec.weights)[numbers]).view(f"i{each}").ravel()


def _lay_out(queries: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return all tokens as unit vectors (d, M), and their lengths in the column of their query (M, queries), float64.

    float16 can hold the products of unit vectors.
    """
    dense = np.concatenate(queries).astype(np.float64)
    lengths = np.linalg.norm(dense, axis=1)
    lengths[lengths == 0] = 1
    columns = np.zeros((len(dense), len(queries)))
    columns[np.arange(len(dense)), np.repeat(np.arange(len(queries)), [len(query) for query in queries])] = lengths
    return np.ascontiguousarray((dense / lengths[:, None]).T), columns


def _blocks(lengths: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Cut pages, given by rising lengths, into blocks of at most `most` rows, or of one page, with few repetitions."""
    first = 0
    while first < len(lengths):
        some = lengths[first : first + max(1, most // int(lengths[first]))]
        scanned = some * np.arange(1, len(some) + 1)
        rows = np.cumsum(some)
        fits = (scanned <= most) & (scanned - rows <= np.maximum(rows, most // 2) // 8)
        last = first + (len(some) if fits.all() else max(1, int(fits.argmin())))
        yield first, last
        first = last


def _take(tensor: Any, at: Any) -> Any:
    """Return some rows of a tensor; a slice is not copied."""
    return tensor[at] if isinstance(at, slice) else tensor.index_select(0, at)
