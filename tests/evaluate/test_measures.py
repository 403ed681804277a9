"""Measures are those of ir-measures and trec_eval: ties, grades, questions that the run or the qrels lack."""

import ir_measures
import numpy as np
import pytest
import pytrec_eval

from visret import evaluate
from visret.errors import InvalidArgument, MissingExtra
from visret.evaluate import comparison, measures


def random_files(folder, seed):
    """Write qrels and a run; return both as ir-measures takes them."""
    rng = np.random.default_rng(seed)
    qrels, run = {}, {}
    for number in range(30):
        pages = [f"d{one}.pdf#{one % 7 + 1}" for one in rng.choice(200, 40, replace=False)]
        if number % 10 != 3:  # the qrels lack it
            qrels[f"q{number}"] = {page: int(rng.integers(-1 if number % 2 else 0, 4)) for page in pages[:20]}
        if number % 10 != 5:  # the run lacks it
            run[f"q{number}"] = {page: float(rng.integers(0, 6)) / 4 for page in pages[10:]}
    qrels["q0"] = dict.fromkeys(qrels["q0"], 0)  # nothing is right
    (folder / "q.qrels").write_text("".join(f"{q} 0 {p} {g}\n" for q, one in qrels.items() for p, g in one.items()))
    (folder / "r.run").write_text("".join(f"{q} Q0 {p} 1 {s} t\n" for q, one in run.items() for p, s in one.items()))
    return qrels, run


@pytest.mark.parametrize("seed", range(5))
def test_they_are_those_of_ir_measures_and_trec_eval(tmp_path, seed):
    qrels, run = random_files(tmp_path, seed)
    names = ["nDCG@5", "R@5", "RR@5", "AP@5", "nDCG", "RR", "AP", "P@3", "R@100"]
    questions = evaluate.read(tmp_path / "q.qrels")
    made = evaluate.compare([evaluate.read_run(tmp_path / "r.run")], questions, measures=names, unit="page")
    (system,) = made.systems
    wanted = ir_measures.calc_aggregate(list(map(ir_measures.parse_measure, names)), qrels, run)
    for measure, value in wanted.items():
        assert system.mean(str(measure)) == pytest.approx(value, abs=1e-6), measure
    trec = {
        "nDCG@5": "ndcg_cut_5",
        "R@5": "recall_5",
        "AP@5": "map_cut_5",
        "RR": "recip_rank",
        "AP": "map",
        "P@3": "P_3",
    }
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, set(trec.values()))
    answers = evaluator.evaluate(run)
    for ours, theirs in trec.items():
        values = [answers.get(question.id, {}).get(theirs, 0) for question in questions]
        np.testing.assert_allclose(system.values[ours], values, atol=1e-6)
    assert system.unanswered == 3
    assert made.notes[0].startswith("1 question without a right page")
    assert "r: found nothing for 3 questions: counted as 0" in made.notes


@pytest.mark.parametrize("seed", range(5))
def test_of_rankings_without_ties_or_grades_our_plain_ones_agree(tmp_path, seed):
    rng = np.random.default_rng(seed)
    relevance, scores = {}, {}
    for number in range(20):
        pages = [f"d{one}" for one in rng.choice(50, 20, replace=False)]
        relevance[str(number)] = dict.fromkeys(pages[: rng.integers(1, 9)], 1)
        scores[str(number)] = dict(zip(rng.permutation(pages).tolist(), np.linspace(1, 0, 20), strict=True))
    values = measures.Judge(relevance, measures.parsed([], 5)).values(scores)
    for name, ours in ("nDCG@5", evaluate.ndcg), ("R@5", evaluate.recall), ("RR@5", evaluate.reciprocal_rank):
        plain = [ours(list(scores[key]), set(relevance[key]), 5) for key in relevance]
        np.testing.assert_allclose(values[name], plain, atol=1e-6)


def test_names_that_are_no_unicode_do_not_end_the_process():
    """As trec_eval would: it takes the bytes of UTF-8."""
    question = evaluate.JudgedQuestion("\ud800 \x00", "red", {evaluate.Target("\udcff.pdf", 1): 1})
    asked = evaluate.QuestionSet("q", {question.id: question})
    found = evaluate.compare([evaluate.System("s", lambda asked, k: [[("\udcff.pdf", 1, 0.5)]])], asked)
    assert found.systems[0].mean("nDCG@5") == 1


def test_measures_are_named_as_ir_measures_does():
    assert list(map(str, measures.parsed([], 10))) == ["nDCG@10", "R@10", "RR@10", "AP@10"]
    chosen = measures.parsed(["nDCG@10", "R@100", "nDCG@10"], 5)
    assert list(map(str, chosen)) == ["nDCG@10", "R@100"]
    assert measures.depth(chosen) == 100
    assert measures.depth(measures.parsed(["AP"], 5)) == measures.DEPTH


@pytest.mark.parametrize(
    "name", ["ndgc@5", "nDCG@", "", "nDCG@x", "nDCG@0", "__import__('os')", "nERR@3(x=1)", "R(rel=0)@5", "AP(rel=-1)@5"]
)
def test_what_is_no_measure_is_said(name):
    with pytest.raises(InvalidArgument, match="is no measure; they are those of ir-measures"):
        measures.parsed([name], 5)


def test_without_ir_measures_the_line_that_installs_it_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ir_measures", None)
    with pytest.raises(MissingExtra, match=r'pip install "visret\[evaluate\]"'):
        comparison.measuring.parsed([], 5)
