"""The terms of pages and questions: what is typed is found, in every script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visret.index import terms


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The cat, the Hat.", "the cat the hat"),
        ("Füße ﬁne café ＡＢＣ İstanbul", "fusse fine cafe abc istanbul"),
        ("install.packages", "install packages install.packages"),
        ("git merge --no-ff", "git merge no ff no-ff --no-ff"),
        ("0x1F", "0x1f"),
        ("(E-1042).", "e 1042 e-1042"),
        ("C++, C# and .NET", "c c++ c c# and net .net"),
        ("$HOME /usr/bin", "home $home usr bin usr/bin /usr/bin"),
        ("std::vector::size()", "std vector size std::vector vector::size std::vector::size"),
        ("__init__ snake_case", "init __init__ snake case snake_case"),
        ("1,000.5 3.14", "1 000 5 1,000 000.5 1,000.5 3 14 3.14"),
        ("one,two; l’homme", "one two l homme l'homme"),
        ("Contents.......7", "contents 7"),
        ("exam-\nple", "exam ple exam-ple example"),
        ("ex\u00adam\u200bple", "example"),
        ("non\u2011breaking", "non breaking non-breaking"),
        ("हिन्दी में", "हिन्दी में"),
        ("שָׁלוֹם", "שלום"),
        ("", ""),
        ("-- ... !", ""),
    ],
)
def test_a_page(text, found):
    assert terms.of_page(text) == found.split()


@pytest.mark.parametrize(
    ("text", "page", "question"),
    [
        ("自然语言", "自然 然语 语言 言", "自然 然语 语言"),
        ("第3章", "第 3 章", "3"),
        ("日本語のOCR", "日本 本語 語の の ocr", "日本 本語 語の ocr"),
        ("한국어 책", "한국 국어 어 책", "한국 국어"),
        ("ภาษา", "ภา าษ ษา า", "ภา าษ ษา"),
    ],
)
def test_scripts_without_spaces_give_pairs(text, page, question):
    assert terms.of_page(text) == page.split()
    asked = terms.of_question(text)
    assert list(asked.terms) == question.split()
    alone = [letter for letter in ("第", "章", "책") if letter in text]
    assert list(asked.prefixes) == alone, "a letter alone is the beginning of a pair"


def test_a_line_of_chinese_goes_on_in_the_next():
    assert terms.of_page("自然\n语言") == terms.of_page("自然语言")


def test_a_question_has_words_beginnings_and_phrases():
    asked = terms.of_question('how "Exact  phrase" retriev* install.pack* “two words” char *p')
    assert asked.phrases == ("Exact  phrase", "two words")
    assert asked.prefixes == ("retriev", "install.pack")
    assert asked.terms == ("how", "exact", "phrase", "two", "words", "char", "p")


@pytest.mark.parametrize("text", ['print("x")', '5" pipe 3" valve', '""', '"', '"..."', "'a b'"])
def test_quotes_that_are_no_phrase(text):
    assert terms.of_question(text).phrases == ()


@pytest.mark.parametrize(
    ("phrase", "text", "is_there"),
    [
        ("exact phrase", "An Exact,\nphrase", True),
        ("exact phrase", "exact other phrase", False),
        ("exact phrase", "inexact phrase", False),
        ("exact phrase", "exact phrases", False),
        ("install.packages", "utils::install.packages(x)", True),
        ("install.packages", "install packages", False),
        ("--no-ff", "merge --no-ff now", True),
        ("--no-ff", "merge no-ff now", False),
        ("语言处理", "自然语言处理", True),
        ("第3章", "在第3章里", True),
        ("3章", "第3章", True),
        ("3章", "第33章", False),
        ("C++ code", "in C++ code", True),
        ("café", "CAFE", True),
    ],
)
def test_a_phrase(phrase, text, is_there):
    assert bool(terms.phrase_pattern(phrase).search(terms.folded(text))) == is_there


WORDS = st.sampled_from(
    ["foo", "bar.baz", "--x", "C++", "é", "自然", "章", "3", "a-\nb", "_y_", "한국", "हिन्दी", "ﬁ", ".", "%"]
)
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([" ", "", "\n", ", ", "-"])), max_size=12).map(
    lambda parts: "".join(word + end for word, end in parts)
)


@given(TEXTS)
def test_what_stands_on_a_page_is_found_as_it_is_typed(text):
    """Every word between spaces, as a question, is looked up by terms that the page has."""
    there = set(terms.of_page(text))
    for word in text.split():
        asked = terms.of_question(word)
        assert set(asked.terms) <= there
        assert all(any(term.startswith(prefix) for term in there) for prefix in asked.prefixes)


@given(TEXTS, TEXTS, TEXTS)
def test_a_page_with_a_phrase_has_its_terms(before, phrase, after):
    """So pages that lack one of them need not be read."""
    page = f"{before} {phrase} {after}"
    if terms.phrase_pattern(phrase).search(terms.folded(page)):
        whole, beginnings = terms.parts_of(phrase)
        there = set(terms.of_page(page))
        assert set(whole) <= there
        assert all(any(term.startswith(one) for term in there) for one in beginnings)


@given(st.text(max_size=40))
def test_any_text_has_terms(text):
    for found in (terms.of_page(text), terms.of_question(text).terms):
        assert all(term and "\n" not in term and "\0" not in term for term in found)
        assert all(len(term) <= terms.MAX_TERM for term in found)
    terms.phrase_pattern(text)


def test_a_long_word_is_cut_and_found():
    word = "x" * 200
    assert terms.of_page(word) == ["x" * 64] == list(terms.of_question(word).terms)
