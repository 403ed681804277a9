"""What a run will do with files, told without doing it."""

import shutil

import pytest
from support.sheets import write_pdf

from visret.ingest.discovery import discover
from visret.ingest.options import ReadOptions
from visret.ingest.plan import (
    Begin,
    Fail,
    Judge,
    Leave,
    Remove,
    Resume,
    Update,
    metadata_of_files,
    plan_again,
    plan_files,
    plan_removals,
)


@pytest.fixture
def planned(retriever, papers):
    """A function that plans the folder; nothing of the index may change by that."""
    index = retriever._index

    def plan(*, metadata=None, sync=False):
        before = {path: path.stat().st_mtime_ns for path in index.path.rglob("*") if path.is_file()}
        judge = Judge(index.snapshot, ReadOptions())
        sources = discover(papers).sources
        made = plan_files(index, sources, judge, metadata_of_files(metadata))
        if sync:
            plan_removals(made, index.snapshot, [papers], sources)
        assert {path: path.stat().st_mtime_ns for path in index.path.rglob("*") if path.is_file()} == before
        return made

    return plan


def kinds(plan):
    return [type(step) for step in plan.steps]


def test_what_is_new_is_read_and_what_is_known_is_left(retriever, papers, planned):
    plan = planned()
    assert kinds(plan) == [Begin, Begin]
    assert [task.doc for task in plan.tasks] == ["one.pdf", "two.pdf"]
    retriever.add(papers)
    assert kinds(planned()) == [Leave, Leave]
    write_pdf(papers / "two.pdf", "cyan", "green", "blue")
    plan = planned()
    assert kinds(plan) == [Leave, Begin]
    assert plan.tasks[0].hash is None  # of another size: no file that is known, and hashed when it is read
    assert plan.tasks[0].skip == set()


def test_a_file_that_moved_is_renamed_and_one_that_went_is_removed(retriever, papers, planned):
    retriever.add(papers)
    shutil.move(papers / "one.pdf", papers / "uno.pdf")
    (papers / "two.pdf").unlink()
    plan = planned(sync=True)
    assert kinds(plan) == [Update, Leave, Remove]
    assert plan.steps[0].columns["doc"] == "uno.pdf"
    assert plan.steps[2] == Remove("two.pdf", is_gone=True)
    assert kinds(planned()) == [Update, Leave]


def test_other_metadata_is_given_without_reading(retriever, papers, planned):
    retriever.add(papers)
    plan = planned(metadata=lambda path: {"year": 2024} if path.name == "one.pdf" else None)
    assert kinds(plan) == [Update, Leave, Leave]
    assert len(plan.updated) == 1
    assert plan.steps[0].columns == {"metadata": {"year": 2024}}


def test_a_document_that_was_stopped_goes_on(retriever, papers, planned, stopping_at_page_2, monkeypatch):
    monkeypatch.setattr("visret.ingest.encoding.BATCH_PAGES", {"image": 1})
    with stopping_at_page_2(), pytest.raises(KeyboardInterrupt):
        retriever.add(papers)
    plan = planned()
    assert kinds(plan) == [Update, Resume, Begin]
    assert plan.tasks[0].skip == {1}


def test_a_file_that_cannot_be_reached_is_named(retriever, papers, planned, monkeypatch):
    monkeypatch.setattr("visret.ingest.plan.free_name", lambda *_: (papers / "gone").stat())
    assert [type(step) for step in planned().steps] == [Fail, Fail]


def test_all_documents_are_read_again_where_they_still_are(retriever, papers):
    retriever.add(papers)
    with retriever._index.writing() as writer:
        for number in retriever._index.snapshot.docs().values():
            writer.finish(number, "partial")
    (papers / "one.pdf").unlink()
    plan = plan_again(retriever._index, Judge(retriever._index.snapshot, ReadOptions()))
    assert kinds(plan) == [Fail, Update, Resume]
    assert plan.steps[0].failure.reason == "is no longer there; put it back and index it again"
