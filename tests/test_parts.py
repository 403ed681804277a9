"""Files that are cut into parts, which are read and encoded in any order and more than once, make the same index."""

import zipfile

import pytest
from support.in_parts import InParts, contents, sent
from support.sheets import write_pdf

from visret import Retriever, load_encoder
from visret.errors import DocumentError, InvalidArgument, ModelMismatch, VisretError
from visret.ingest import apart, parts
from visret.ingest.apart import Model, PartReader
from visret.ingest.discovery import Source
from visret.ingest.options import ReadOptions
from visret.ingest.tasks import Task

COLOURS = ("red", "green", "blue", "yellow", "cyan", "magenta", "orange", "purple", "white", "black")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Files of every kind that matters: a long PDF, short ones, one that cannot be read, an archive, a text."""
    folder = tmp_path_factory.mktemp("shelf")
    write_pdf(folder / "long.pdf", *(COLOURS[i * 7 % 10] for i in range(43)))
    for number in range(9):
        write_pdf(folder / f"short-{number}.pdf", *COLOURS[number : number + 2])
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 and nothing else")
    with zipfile.ZipFile(folder / "letters.zip", "w") as archive:
        archive.write(folder / "short-3.pdf", "a/three.pdf")
        archive.write(folder / "short-4.pdf", "four.pdf")
    (folder / "words.txt").write_text("nothing to see")
    return folder


@pytest.fixture(scope="module")
def whole(shelf, tmp_path_factory):
    """What an uninterrupted run in this process makes of it, and its report."""
    with Retriever.create(tmp_path_factory.mktemp("whole") / "i.visret", model="toy") as retriever:
        return retriever.add(shelf, ocr="never"), contents(retriever)


def told(report):
    """A report without its order and its time."""
    return {
        **{name: getattr(report, name) for name in ("documents", "pages", "added", "unchanged", "removed", "updated")},
        **{name: sorted(getattr(report, name), key=repr) for name in ("empty", "failed", "lost", "ignored")},
    }


@pytest.mark.parametrize(("losses", "seed"), [(0, 1), (0.1, 2), (0.4, 3), (0.4, 4)])
def test_parts_make_the_same_index_whatever_is_lost(losses, seed, shelf, whole, tmp_path):
    executor = InParts(losses=losses, seed=seed)
    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        report = retriever.add(shelf, ocr="never", executor=executor)
        assert contents(retriever) == whole[1]
        assert told(report) == told(whole[0])
        assert executor.portions - executor.lost >= 9  # the long file was cut into six
        again = retriever.add(shelf, ocr="never", executor=executor)
        assert (again.pages, again.added, again.unchanged) == (0, 0, 14)


def test_a_run_that_ends_in_the_middle_goes_on(shelf, whole, tmp_path):
    class Ends(InParts):
        def carry_out(self, job):
            for batch in super().carry_out(job):
                yield batch
                if self.portions == 3:
                    raise KeyboardInterrupt

    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        with pytest.raises(KeyboardInterrupt):
            retriever.add(shelf, ocr="never", executor=Ends(seed=5))
        before = len(contents(retriever)[1])
        assert 0 < before < whole[0].pages
        report = retriever.add(shelf, ocr="never", executor=InParts())
        assert before + report.pages == whole[0].pages
        assert contents(retriever) == whole[1]


def test_a_codec_is_learned_from_the_pages_that_come_first(shelf, tmp_path):
    made = []
    for name, executor in (("here", None), ("parts", InParts(losses=0.3, seed=7))):
        with Retriever.create(tmp_path / name, model="toy", codec="residual2", dim=3) as retriever:
            retriever.add(shelf, ocr="never", executor=executor)
            made.append(contents(retriever))
    assert made[0] == made[1]


def test_a_page_that_ends_every_process_is_given_up_alone(shelf, tmp_path):
    def dies(portion):  # page 20 of the long file
        (part, *_) = portion.parts
        first, last = part.span
        return part.task.doc == "long.pdf" and first <= 20 <= (last or 43)

    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        report = retriever.add(shelf / "long.pdf", ocr="never", executor=InParts(losses=dies))
        (failure,) = report.failed
        assert (failure.page, report.pages) == (20, 42)
        assert "processes ended while they were at it, the last because it was lost" in failure.reason


def test_a_file_that_cannot_be_cut_is_given_up_and_tried_again(shelf, tmp_path):
    only = {"include": "letters.zip", "ocr": "never"}
    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        report = retriever.add(shelf, **only, executor=InParts(losses=1.0))
        (failure,) = report.failed
        assert (failure.path, failure.page, report.pages) == (str(shelf / "letters.zip"), None, 0)
        assert "10 processes ended" in failure.reason
        assert retriever.add(shelf, **only).pages == 4


def test_a_damaged_file_that_claims_many_pages_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(parts, "MAX_UNREAD", 10)
    write_pdf(tmp_path / "a.pdf", *["red"] * 40)

    def read(self, sent_parts, options):
        read = PartReader.read(self, sent_parts, options)
        return read[0], [
            [(place, one if not hasattr(one, "ref") else apart.Unread(one.ref.page, "torn")) for place, one in answers]
            for answers in read[1]
        ]

    monkeypatch.setattr("support.in_parts.PartReader", type("Torn", (PartReader,), {"read": read}))
    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        report = retriever.add(tmp_path / "a.pdf", ocr="never", executor=InParts())
        assert report.failed[-1].reason == "was given up at page 10 of 40, after 10 bad ones"
        assert len(report.failed) == 11


def test_metadata_is_updated_and_files_that_are_gone_go(shelf, tmp_path):
    papers = tmp_path / "papers"
    write_pdf(papers / "one.pdf", "red")
    write_pdf(papers / "two.pdf", "blue")
    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        retriever.add(papers, metadata={"year": 2024}, executor=InParts())
        write_pdf(papers / "one.pdf", "green", "green")
        (papers / "two.pdf").unlink()
        report = retriever.add(papers, metadata={"year": 2025}, sync=True, executor=InParts())
        assert (report.pages, report.removed) == (2, 1)
        (hit,) = retriever.search("green", k=1, where={"year": 2025})
        assert hit.ref.doc == "one.pdf"


def test_a_machine_that_does_not_see_a_file_says_what_it_has(tmp_path):
    file = write_pdf(tmp_path / "a.pdf", "red")
    task = Task(Source(file, "a.pdf"), "a.pdf", 1, file.stat().st_size, None, set())
    assert apart.unseen(parts.Part(0, task, (1, None))) is None
    file.write_bytes(b"12")
    assert apart.unseen(parts.Part(0, task, (1, None))).startswith("2 bytes instead of ")
    file.unlink()
    part = parts.Part(0, task, (1, None))
    (glances, _), ((answer,),) = PartReader().read([part], ReadOptions())
    assert (glances[0].unseen, answer[1].reason, answer[1].reached) == (*["No such file or directory"] * 2, False)


def test_the_same_version_and_the_same_model_are_wanted_everywhere(tmp_path, toy):
    with pytest.raises(VisretError, match=r"has visret .*, and this machine 9\.9: install the same version on all"):
        PartReader().ready("9.9")
    model = Model.of(toy, tmp_path)
    assert model.encoder is None  # visret knows how to load it
    assert sent(model).loaded(1).spec == toy.spec
    other = Model(tmp_path, Model.of(load_encoder("none"), tmp_path).made, toy.spec, None)
    with pytest.raises(ModelMismatch):
        other.loaded(1)
    with pytest.raises(VisretError, match="was made with none") as error:
        apart.PartEncoder().ready(apart.visret.__version__, other, 1)
    assert str(sent(error.value)) == str(error.value)


def test_errors_that_cannot_be_sent_are_sent_as_plain_ones():
    with pytest.raises(VisretError, match=r"a\.pdf: torn") as error, apart._plainly():
        raise DocumentError("a.pdf", "torn")
    assert type(sent(error.value)) is VisretError


def test_a_cluster_is_a_host_and_a_port():
    from visret.ingest.on_ray import OnRay

    with pytest.raises(InvalidArgument, match="got 'http://somewhere'"):
        OnRay("http://somewhere")
