"""A BERT encoder in NumPy, for questions: they take a tenth of a billion operations, for which torch is not loaded.

Importing torch takes longer than everything else that a search does, and its libraries take more memory than the
weights. The results are those of `_bert` in float32, up to the rounding of sums, and the weights are read where they
lie in the file. All arrays are upright: a column is a token, so that the weights, which lie row by row as a product
needs them, are its left factor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from visret.encoders._layout import DISTANCES, QKV, Layout, buckets_of
from visret.maxsim.linear import lanes
from visret.maxsim.linear import product as product_of_weights
from visret.products import product, rows_at_once

# erf(x) = x P(x^2) / Q(x^2) for |x| <= 4, and its value at 4 beyond, with an error of 4e-7. The coefficients are
# Eigen's, from the highest power to the lowest.
_ERF_P = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_Q = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


def erf(x: np.ndarray) -> np.ndarray:
    """Return the error function of float32 values of any shape. NumPy has none, and SciPy's takes long to import."""
    x = np.clip(x, -4, 4, dtype=np.float32)
    square = x * x
    return np.asarray(x * _polynomial(_ERF_P, square) / _polynomial(_ERF_Q, square))


def gelu(x: np.ndarray) -> np.ndarray:
    """Return x times the share of a normal distribution that lies below x."""
    return np.asarray(x * (np.float32(0.5) + np.float32(0.5) * erf(x * np.float32(0.5**0.5))))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """Return `gelu` approximated by tanh, as some checkpoints were trained with it."""
    inner = np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x**3)
    return np.asarray(x * (np.float32(0.5) + np.float32(0.5) * np.tanh(inner)))


def silu(x: np.ndarray) -> np.ndarray:
    """Return x times its logistic function, written with tanh, which does not overflow."""
    return np.asarray(x * (np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * x)))


def relu(x: np.ndarray) -> np.ndarray:
    """Return x where it is positive, else 0."""
    return np.asarray(np.maximum(x, np.float32(0)))


ACTIVATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
    "tanh": np.tanh,
}
"""The known activations, by their names in transformers."""


class Projection(NamedTuple):
    """A linear layer behind an encoder: weight (out, in), bias (out,) or None, activation by its name or None.

    residual: (out, in), the matrix that multiplies the input before it is added to the output, or None.
    adds_input: whether the input itself is added to the output.
    """

    weight: np.ndarray
    bias: np.ndarray | None = None
    activation: str | None = None
    residual: np.ndarray | None = None
    adds_input: bool = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Apply the layer: (in, n) to (out, n)."""
        out = linear(self.weight, self.bias, x)
        if self.activation is not None:
            out = ACTIVATIONS[self.activation](out)
        if self.residual is not None:
            out += linear(self.residual, None, x)
        return out + x if self.adds_input else out


class Bert:
    """A BERT encoder with the layers behind it. One call takes one thread.

    layout: its sizes. tensors: its weights, by the names of `Layout.names`.
    """

    def __init__(
        self, layout: Layout, tensors: Mapping[str, np.ndarray], projections: Sequence[Projection] = ()
    ) -> None:
        self.layout = layout
        self._projections = projections
        self._activate = ACTIVATIONS[layout.activation]
        self._tables = [tensors[name] for name in layout.tables()]
        self._weights = {name: tensors[name] for name in layout.names() if name not in layout.tables()}

    def __call__(self, ids: Sequence[int] | np.ndarray, attended: np.ndarray | None = None) -> np.ndarray:
        """Return the last layer's vectors of n ids: (d, n) float32, not normalised.

        attended: (n,) bool, False for ids that no id attends to; None if all are attended to.
        """
        words, positions, *types = self._tables
        count = len(ids)
        width = -(-count // lanes()) * lanes()  # columns that are multiplied at once; those behind `count` are unused
        x = np.zeros((self.layout.dim, width), np.float32)
        first = self.layout.first
        x[:, :count] = sum((table[0] for table in types), words[np.asarray(ids)] + positions[first : first + count]).T
        seen = np.arange(width) < count
        if attended is not None:
            seen[:count] &= attended
        x = self._norm(x, "embeddings.LayerNorm")
        added = self._added(width)
        for prefix in self.layout.prefixes():
            y = self._linear(self._attend(x, prefix, seen, added), f"{prefix}attention.output.dense")
            x = self._norm(x + y, f"{prefix}attention.output.LayerNorm")
            inner = self._activate(self._linear(x, f"{prefix}intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{prefix}output.dense"), f"{prefix}output.LayerNorm")
        for projection in self._projections:
            x = projection(x)
        return x[:, :count]

    def _added(self, count: int) -> np.ndarray | None:
        """Return what distances add to the logits of n ids: (heads, attended to, attending); None for nothing."""
        if not self.layout.buckets:
            return None
        steps = np.arange(count)
        buckets = buckets_of(steps[:, None] - steps, self.layout.buckets)
        return np.ascontiguousarray(self._weights[DISTANCES][buckets].transpose(2, 0, 1))

    def _attend(self, x: np.ndarray, prefix: str, seen: np.ndarray, added: np.ndarray | None) -> np.ndarray:
        """Attend from each column to those that are seen: (dim, n) to (dim, n).

        seen: (n,) bool. added: what is added to the logits (`_added`).
        """
        count = x.shape[1]
        q, k, v = (self._linear(x, prefix + part).reshape(self.layout.heads, -1, count) for part in QKV)
        q *= np.float32(q.shape[1] ** -0.5)
        logits = _of_each(k.transpose(0, 2, 1), q)  # (heads, attended to, attending)
        if added is not None:
            logits += added
        logits[:, ~seen] = -np.inf
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return _of_each(v, logits).reshape(-1, count)

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return linear(self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], x)

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        """Bring each column to mean 0 and variance 1, then scale and shift it."""
        x = x - x.mean(axis=0)
        x /= np.sqrt(np.einsum("ij,ij->j", x, x) / np.float32(len(x)) + np.float32(self.layout.eps))
        x *= self._weights[f"{name}.weight"][:, None]
        x += self._weights[f"{name}.bias"][:, None]
        return x


def _of_each(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Multiply (heads, m, d) by (heads, d, n) to (heads, m, n), on one core."""
    if left.shape[1] <= rows_at_once(right[0]):
        return np.asarray(left @ right)
    return np.stack([product(*pair) for pair in zip(left, right, strict=True)])


def linear(weight: np.ndarray, bias: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    """Return weight (out, in) @ x (in, n) + bias (out,): (out, n); n is a multiple of `lanes()`."""
    out = product_of_weights(weight, x)
    if bias is not None:
        out += bias[:, None]
    return out


def unit_rows(columns: np.ndarray) -> np.ndarray:
    """Turn columns (d, n) into rows (n, d) float32 of length 1; a vector of zeros stays as it is."""
    rows = np.ascontiguousarray(columns.T, np.float32)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12)))


def _polynomial(coefficients: Sequence[float], x: np.ndarray) -> np.ndarray:
    """Evaluate a polynomial by Horner's rule. coefficients: the highest power first."""
    out = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        out *= x
        out += np.float32(coefficient)
    return out
