"""The frame around a passage: it has room, and goes through no word outside."""

import numpy as np
import pytest
from support.samples import FOLDER, QUESTIONS

from visret import Retriever
from visret.explain.drawing import ROOM, frames, with_room


def cut(frame, words):
    """The words (w, 4) whose boxes an edge of the frame goes through: (w,) bool."""
    x0, y0, x1, y1 = frame
    meets = (words[:, 0] < x1) & (words[:, 2] > x0) & (words[:, 1] < y1) & (words[:, 3] > y0)
    holds = (words[:, 0] >= x0) & (words[:, 2] <= x1) & (words[:, 1] >= y0) & (words[:, 3] <= y1)
    return meets & ~holds


def outside(frame, words):
    """The words whose middle is not in the frame: (w,) bool."""
    middle = (words[:, :2] + words[:, 2:]) / 2
    return ((middle < frame[:2]) | (middle > frame[2:])).any(axis=1)


def body(words):
    """The boxes of words without the room of their fonts above and below the letters: their middle half."""
    height = words[:, 3:] - words[:, 1:2]
    return np.hstack([words[:, :1], words[:, 1:2] + height / 4, words[:, 2:3], words[:, 3:] - height / 4])


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    with Retriever.create(tmp_path_factory.mktemp("frames") / "i.visret") as retriever:
        retriever.add([FOLDER / "report.pdf", FOLDER / "two_column.pdf"])  # the lines of a crooked scan overlap
        yield retriever


@pytest.mark.weights
def test_frames_in_the_sample_documents_cut_no_word_outside_the_passage(samples):
    framed = 0
    for question in QUESTIONS:
        for hit in samples.search(question.text, 5):
            why = samples.heatmap(question.text, hit)
            words = why.embedding.word_boxes
            for passage in why.passages(3):
                for frame in frames(passage.boxes):
                    framed += 1
                    roomy, apart = with_room(frame, words), outside(frame, words) & ~cut(frame, words)  # boxes overlap
                    assert not cut(roomy, words[apart]).any(), (question.text, hit.ref, frame)
                    assert not cut(roomy, body(words)).any(), (question.text, hit.ref, frame)
    assert framed > 100


def test_a_frame_ends_half_way_to_the_nearest_word_outside():
    frame = (0.2, 0.3, 0.8, 0.5)
    inside = (0.2, 0.3, 0.4, 0.32)
    assert with_room(frame, np.array([inside])) == pytest.approx(
        (0.2 - ROOM[0], 0.3 - ROOM[1], 0.8 + ROOM[0], 0.5 + ROOM[1])
    )
    near = np.array([inside, (0.1, 0.27, 0.9, 0.298), (0.5, 0.504, 0.6, 0.52), (0.1, 0.4, 0.196, 0.42)])
    assert with_room(frame, near) == pytest.approx((0.198, 0.299, 0.8 + ROOM[0], 0.502))
    tight = np.array([(0.5, 0.498, 0.6, 0.52)])  # the boxes of its lines overlap
    assert with_room(frame, tight)[3] == pytest.approx(0.499)
    assert with_room((0, 0, 1, 1), np.empty((0, 4))) == (0, 0, 1, 1)
