"""Text with white space between all letters, as some OCR programs write it: wider gaps tell the words apart."""

from __future__ import annotations

import numpy as np

from visret.documents.geometry import Steps

_MIN_LETTERS = 6  # single letters on a line, which are then neither a formula nor a list
_MAX_GAP = 0.6  # white space within a word, in heights of the line
_WIDER = 0.1  # excess of a gap between words over one within a word, in heights of the line
_HEADING = 24  # letters of a heading in one word


def letters_apart(codes: np.ndarray, first: np.ndarray, step: Steps, turned: np.ndarray) -> np.ndarray:
    """Return the indices at which pieces of text begin, without those inside words whose letters stand apart.

    codes: (n,) characters, none of them white space. first: (p,) the starts of their p pieces. step, turned: (n - 1,)
    from each character to the next.
    """
    alone = np.diff(np.append(first, len(codes))) == 1
    if np.count_nonzero(alone[1:] & alone[:-1]) < _MIN_LETTERS - 1:
        return first
    letter = alone & _alphabetic(codes[first])
    ends = first[1:] - 1  # the steps from piece to piece
    goes_on = ~turned[ends] & (step.shared[ends] > 0.5 * step.low[ends])
    goes_on &= (step.ahead[ends] > -0.2 * step.tall[ends]) & (step.ahead[ends] < 4 * step.tall[ends])
    line = np.concatenate([[0], np.cumsum(~goes_on)])
    pieces, letters = np.bincount(line), np.bincount(line, weights=letter)
    apart = (letters >= _MIN_LETTERS) & (letters >= 0.6 * pieces) & (np.bincount(line, weights=alone) >= 0.85 * pieces)
    if not apart.any():
        return first
    gaps = step.ahead[ends] / step.tall[ends]
    starts = np.concatenate([[0], np.cumsum(pieces)])
    lines = [(int(starts[number]), int(starts[number + 1])) for number in np.flatnonzero(apart)]
    lines = [(start, end) for start, end in lines if not _is_list(codes[first[start:end]])]
    joined = np.zeros(len(first), bool)
    usual = [0.0]  # white space within the words of lines that have wider gaps too
    for start, end in lines:
        within = _narrow(gaps[start : end - 1])
        joined[start + 1 : end] = within
        usual += gaps[start : end - 1][within].tolist()
    widest = 1.3 * float(np.median(usual[1:])) if len(usual) > 1 else 0.0
    for start, end in lines:
        if not joined[start + 1 : end].any() and _is_one_word(gaps[start : end - 1], codes[first[start:end]], widest):
            joined[start + 1 : end] = True
    return np.asarray(first[~joined])


def _alphabetic(codes: np.ndarray) -> np.ndarray:
    """Find letters of alphabets, roughly: not figures, signs, or the scripts of East Asia."""
    small = codes | 0x20
    return np.asarray(((small >= 0x61) & (small <= 0x7A)) | ((codes >= 0xC0) & (codes < 0x2000) & (codes != 0xD7)))


def _narrow(gaps: np.ndarray) -> np.ndarray:
    """Find the gaps of a line, in its heights, that are narrower than those that part words; none if all are alike."""
    usual = float(np.median(gaps))
    beyond = np.sort(gaps[gaps >= usual])
    jumps = np.flatnonzero(np.diff(beyond) > max(_WIDER, 0.4 * usual))
    if usual > _MAX_GAP or not len(jumps):
        return np.zeros(len(gaps), bool)
    return np.asarray(gaps <= beyond[jumps[0]])


def _is_one_word(gaps: np.ndarray, codes: np.ndarray, widest: float) -> bool:
    """Return whether a line with equal gaps is one word: a heading, or set no wider than the words of other lines."""
    usual = float(np.median(gaps))
    return len(codes) <= _HEADING and usual <= (_MAX_GAP if (codes < 0x61).all() else widest)


def _is_list(codes: np.ndarray) -> bool:
    """Return whether letters follow each other as in the alphabet, such as A B C D: names of columns or of answers."""
    return bool((np.diff(codes.astype(np.int64)) == 1).mean() > 0.5)
