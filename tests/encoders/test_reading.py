import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from visret.encoders._reading import Reading, read, windows


@pytest.fixture(scope="session")
def tokenizer(checkpoints):
    tokenizer = Tokenizer.from_file(str(checkpoints / "bert" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def of_words(counts):
    """A reading with so many pieces in each word."""
    words = np.repeat(np.arange(len(counts)), counts)
    zeros = np.zeros(len(words), int)
    return Reading(np.arange(len(words)), zeros, zeros, words, [(0, 0)] * len(counts), [], [], zeros == 0)


def test_pieces_know_their_characters_and_words(tokenizer):
    text = "Reporting\nthe [SEP] \u200b  x\ud800 page."
    found = read(tokenizer, text, prompt="", unknown=1)
    assert [text[a:b] for a, b in found.spans] == text.split()
    pieces = [(text[a:b], int(word)) for a, b, word in zip(found.starts, found.ends, found.words, strict=True)]
    assert pieces == [
        ("Report", 0), ("ing", 0), ("the", 1), ("[", 2), *[(letter, 2) for letter in "SEP"], ("]", 2),
        ("\u200b", 3), ("x", 4), ("page", 5), (".", 5),
    ]  # fmt: skip
    assert found.ids[8] == 1
    assert [tokenizer.id_to_token(i) for i in (*found.head, *found.tail)] == ["[CLS]", "[SEP]"]


def test_a_prompt_is_in_the_head(tokenizer):
    found = read(tokenizer, "the page", prompt="red: ", unknown=1)
    assert [tokenizer.id_to_token(i) for i in found.head] == ["[CLS]", "red", ":"]
    assert found.starts.tolist() == [0, 4]


@pytest.mark.parametrize("prompt", ["", "red: "])
def test_a_text_of_dropped_words_only(tokenizer, prompt):
    found = read(tokenizer, "\u200b \x00", prompt=prompt, unknown=1)
    assert found.ids.tolist() == [1, 1]
    assert found.framed(slice(0, 2)) == [*found.head, 1, 1, *found.tail]
    assert [tokenizer.id_to_token(i) for i in found.tail] == ["[SEP]"]


@given(text=st.text(st.characters(codec=None), min_size=1).filter(str.strip))
def test_every_word_of_any_text_has_a_piece_inside_it(tokenizer, text):
    found = read(tokenizer, text, prompt="", unknown=1)
    assert sorted(set(found.words.tolist())) == list(range(len(text.split())))
    for start, end, word in zip(found.starts, found.ends, found.words, strict=True):
        first, last = found.spans[word]
        assert first <= start <= end <= last


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 6), st.integers(1, 7))
def test_windows_are_the_text_in_whole_words(counts, most_words, most_pieces):
    reading = of_words(counts)
    cuts = windows(reading, most_words=most_words, most_pieces=most_pieces)
    assert [i for cut in cuts for i in range(cut.start, cut.stop)] == list(range(sum(counts)))
    for cut in cuts:
        held = set(reading.words[cut].tolist())
        assert 0 < cut.stop - cut.start <= most_pieces
        assert len(held) <= most_words
        for word in held:  # cut in two only where it fits in no window
            assert counts[word] > most_pieces or (reading.words[cut] == word).sum() == counts[word]


def test_windows_are_as_few_as_they_can_be():
    assert windows(of_words([1] * 300), most_words=150, most_pieces=400) == [slice(0, 150), slice(150, 300)]
    assert windows(of_words([3, 3, 3]), most_words=150, most_pieces=7) == [slice(0, 6), slice(6, 9)]
    assert windows(of_words([1, 10, 1]), most_words=150, most_pieces=4) == [
        slice(0, 1), slice(1, 5), slice(5, 9), slice(9, 12)]  # fmt: skip


def test_the_tokenizer_file_of_this_test_truncates(checkpoints):
    """Or the encoder's care not to truncate is not tested."""
    assert json.loads((checkpoints / "bert" / "tokenizer.json").read_text())["truncation"]["max_length"] == 16


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("the page", ["the", "page"]),
        ("the 🙂 page", ["the", "page"]),  # 🙂 is one of the pieces that all look alike
        ("the page🙂", ["the"]),
        ("the ? page", ["the", "?", "page"]),
        ("🙂", []),
        ("\u200b", []),
        ("x🙂.x page", ["page"]),  # single letters beside an unknown piece are what is left of a word
        ("🙂 ?", []),
        ("?", ["?"]),
    ],
)
def test_unknown_pieces_of_a_question_count_as_no_word(tokenizer, text, left):
    found = read(tokenizer, text, prompt="", unknown=tokenizer.token_to_id("[UNK]")).without_unknown(text)
    assert [text[start:end] for start, end in zip(found.starts, found.ends, strict=True)] == left
    assert len(found.ids) == len(found.words) == len(found.known) == len(left)


def test_without_an_id_for_the_unknown_every_piece_is_known(tokenizer):
    """An id of 0, which stands for dropped words then, is that of a real piece as well."""
    found = read(tokenizer, "the \u200b page", prompt="", unknown=None)
    assert found.known.tolist() == [True, False, True]
