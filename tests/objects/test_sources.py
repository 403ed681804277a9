"""Originals on object storage, in a folder and on a server of S3 (moto): read, left alone, moved, removed, shown."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.in_parts import InParts, contents
from support.runs import counts
from support.sheets import write_pdf

from visret import PageRef, Retriever, cli, rag
from visret.errors import DocumentError, InvalidArgument, MissingExtra, VisretError
from visret.ingest import discovery
from visret.stores import objects

pytest.importorskip("obstore", reason="pip install 'visret[objects]' for these tests")

COLOURS = ("red", "green", "blue", "yellow", "cyan", "magenta", "orange", "purple", "white", "black")


class Shelf:
    """Documents below an address. read: the addresses of what is read of objects, a piece at a time."""

    def __init__(self, address, scratch):
        import obstore

        self.address = address
        self.obstore = obstore
        self.scratch = scratch
        self.read = []

    def at(self, name=""):
        return objects.Bucket(f"{self.address}/{name}".rstrip("/"))

    def put(self, name, content):
        bucket = self.at(name)
        self.obstore.put(bucket._store, bucket.key, content)

    def pdf(self, name, *colours):
        path = self.scratch / "made.pdf"
        write_pdf(path, *colours)
        self.put(name, path.read_bytes())

    def get(self, name):
        bucket = self.at(name)
        return bytes(self.obstore.get(bucket._store, bucket.key).bytes())

    def delete(self, name):
        bucket = self.at(name)
        self.obstore.delete(bucket._store, bucket.key)


@pytest.fixture
def shelf(storage, tmp_path, monkeypatch):
    """Three documents, one of which has others inside, and what is none."""
    (tmp_path / "made").mkdir()
    made = Shelf(f"{storage}/papers", tmp_path / "made")
    made.pdf("a.pdf", "red", "green")
    made.pdf("2024/b c.pdf", "blue")
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as inside:
        inside.writestr("four.pdf", made.get("a.pdf"))
    made.put("2024/mail.zip", archive.getvalue())
    made.put("data.bin", b"no document")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    parts = objects.Bucket.parts

    def noted(self, one):
        made.read.append(one.url)
        return parts(self, one)

    monkeypatch.setattr(objects.Bucket, "parts", noted)
    return made


@pytest.fixture
def retriever(shelf, tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as made:
        yield made
    assert left() == []


def left():
    """What lies in the folder for temporary files."""
    return sorted(Path(tempfile.tempdir).iterdir())


def added(retriever, *paths, **how):
    report = retriever.add(list(paths), ocr="never", **how)
    assert not report.failed, report.failed
    return report


def best(retriever, question):
    return retriever.search(question, k=1)[0]


def test_objects_are_read_like_files_and_fetched_once(shelf, retriever):
    report = added(retriever, f"{shelf.address}/")
    assert counts(report) == (4, 5, 4, 0, 0)
    assert report.ignored == [f"{shelf.address}/data.bin"]
    assert sorted(retriever.documents()) == ["2024/b c.pdf", "2024/mail.zip", "2024/mail.zip/four.pdf", "a.pdf"]
    hit = best(retriever, "blue")
    assert (hit.doc, hit.source) == ("2024/b c.pdf", f"{shelf.address}/2024/b c.pdf")
    assert len(shelf.read) == 3
    shelf.read.clear()
    assert counts(added(retriever, shelf.address)) == (4, 0, 0, 4, 0)
    assert shelf.read == []
    assert left() == []


def test_the_index_is_that_of_the_same_files_in_a_folder(shelf, retriever, tmp_path):
    added(retriever, shelf.address)
    for name in ("a.pdf", "2024/b c.pdf", "2024/mail.zip"):
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(shelf.get(name))
    with Retriever.create(tmp_path / "local.visret", model="toy") as local:
        added(local, tmp_path / "folder")
        here, there = contents(local), contents(retriever)
    assert here[1:] == there[1:]
    assert {doc: one[1:] for doc, one in here[0].items()} == {doc: one[1:] for doc, one in there[0].items()}


def test_what_has_changed_is_read_again_and_the_same_content_is_not(shelf, retriever):
    added(retriever, shelf.address)
    shelf.pdf("a.pdf", "yellow")
    shelf.put("2024/b c.pdf", shelf.get("2024/b c.pdf"))  # in another second, or with another ETag
    report = added(retriever, shelf.address)
    assert counts(report) in ((4, 1, 1, 3, 0),)
    assert best(retriever, "yellow").doc == "a.pdf"
    shelf.read.clear()
    assert counts(added(retriever, shelf.address)) == (4, 0, 0, 4, 0)
    assert shelf.read == []


def test_two_versions_of_one_second_and_size_are_two(shelf, retriever, monkeypatch):
    stamp = objects._stamp
    monkeypatch.setattr(objects, "_stamp", lambda written, e_tag: stamp(written.replace(second=0, minute=0), e_tag))
    shelf.put("note.txt", b"red")
    before = shelf.at("note.txt").head()
    shelf.put("note.txt", b"ten")
    after = shelf.at("note.txt").head()
    assert before.size == after.size
    assert before.stamp != after.stamp
    assert abs(before.stamp - after.stamp) < 3600 * 10**9


def test_an_object_that_moved_keeps_its_pages(shelf, retriever):
    added(retriever, shelf.address, metadata={"year": 2024})
    shelf.put("moved/here.pdf", shelf.get("2024/b c.pdf"))
    shelf.delete("2024/b c.pdf")
    assert counts(added(retriever, shelf.address)) == (4, 0, 0, 4, 0)
    hit = best(retriever, "blue")
    assert (hit.doc, hit.source) == ("moved/here.pdf", f"{shelf.address}/moved/here.pdf")
    assert hit.metadata["year"] == 2024


def test_sync_removes_what_is_gone_and_nothing_where_nobody_answers(shelf, retriever, monkeypatch, tmp_path):
    write_pdf(tmp_path / "here.pdf", "black")
    added(retriever, shelf.address, tmp_path / "here.pdf")
    shelf.delete("a.pdf")
    shelf.delete("2024/mail.zip")
    assert added(retriever, f"{shelf.address}/2024", tmp_path / "here.pdf").removed == 0
    assert added(retriever, tmp_path / "here.pdf", sync=True).removed == 0  # it was not listed

    def silent(self):
        raise DocumentError(self.url, "nobody answers")

    with monkeypatch.context() as patched:
        patched.setattr(objects.Bucket, "listed", silent)
        report = retriever.add(shelf.address, sync=True, ocr="never")
    assert report.removed == 0
    assert report.failed[0].reason == "cannot be listed: nobody answers"
    assert "a.pdf" in retriever.documents()
    assert added(retriever, f"{shelf.address}/2024", sync=True).removed == 1
    assert added(retriever, shelf.address, sync=True, exclude="drafts").removed == 1
    assert sorted(retriever.documents()) == ["2024/b c.pdf", "here.pdf"]
    shelf.delete("2024/b c.pdf")
    report = retriever.add(shelf.address, sync=True, ocr="never")
    assert report.removed == 1
    assert "no documents at this address" in report.failed[0].reason


def test_a_file_here_does_not_take_the_place_of_an_object_with_its_content(shelf, retriever, tmp_path):
    added(retriever, shelf.address)
    (tmp_path / "copy.pdf").write_bytes(shelf.get("2024/b c.pdf"))
    assert added(retriever, tmp_path / "copy.pdf").added == 1
    assert {"copy.pdf", "2024/b c.pdf"} <= {*retriever.documents()}


def test_names_are_filtered_and_what_folders_hide_is_hidden(shelf, storage):
    for name in (".git/x.pdf", "~$a.pdf", "old.visret/catalogue.sqlite", "old.visret/renditions/1.pdf", "c.pdf"):
        shelf.put(name, b"x")
    shelf.put("papers.pdf", b"x")  # no folder

    def names(*paths, **patterns):
        found = discovery.discover(paths, **patterns)
        assert not found.failures
        return [source.doc for source in found.sources]

    assert names(shelf.address) == ["2024/b c.pdf", "2024/mail.zip", "a.pdf", "c.pdf", "papers.pdf"]
    assert names(storage, include="papers/*.pdf") == ["papers/a.pdf", "papers/c.pdf", "papers/papers.pdf"]
    assert names(shelf.address, exclude=["2024", "c*"]) == ["a.pdf", "papers.pdf"]
    assert names(f"{shelf.address}/a.pdf", f"{shelf.address}/2024/", shelf.address)[:2] == ["a.pdf", "b c.pdf"]
    if storage.startswith("s3"):
        shelf.put("2024", b"")  # as some programs make a folder
    assert names(f"{shelf.address}/2024") == ["b c.pdf", "mail.zip"]
    assert discovery.find(f"{shelf.address}/a").failures[0].reason.startswith("no documents at this address")


def test_names_that_are_taken_get_a_parent_in_front(shelf, retriever):
    shelf.pdf("2025/b c.pdf", "orange")
    added(retriever, f"{shelf.address}/2024/b c.pdf", f"{shelf.address}/2025/b c.pdf")
    assert retriever.documents() == ["b c.pdf", "2025/b c.pdf"]


def test_pages_are_drawn_from_an_object_fetched_again(shelf, retriever):
    added(retriever, shelf.address)
    shelf.read.clear()
    hit = best(retriever, "green")
    hit = replace(hit, ref=PageRef("a.pdf", 2), source=f"{shelf.address}/a.pdf", member="")
    assert retriever.picture(hit).getpixel((30, 30))[1] == 255
    assert retriever.page(("a.pdf", 1)).image.getpixel((30, 30))[0] > 250
    assert shelf.read == [f"{shelf.address}/a.pdf"]  # once for both
    assert retriever.picture(("2024/mail.zip/four.pdf", 1)).getpixel((30, 30))[0] > 250
    with pytest.raises(DocumentError, match="is on object storage, and has no file here"):
        retriever.original("a.pdf")
    with pytest.raises(DocumentError, match="pass pages="):
        rag.messages("which is green?", [hit])
    shelf.pdf("a.pdf", "white")
    with pytest.raises(DocumentError, match="has changed since it was indexed"):
        retriever.picture(hit)
    shelf.delete("a.pdf")
    with pytest.raises(DocumentError, match="is no longer there; put it back") as raised:
        retriever.picture(hit)
    assert raised.value.path == f"{shelf.address}/a.pdf"
    assert retriever.read(hit)[1] is not None


def test_a_damaged_object_is_named_by_its_address(shelf, retriever):
    shelf.put("broken.pdf", b"%PDF-1.4 and nothing else")
    report = retriever.add(shelf.address, ocr="never")
    (failure,) = report.failed
    assert failure.path == f"{shelf.address}/broken.pdf"
    assert tempfile.tempdir not in failure.reason


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lambda shelf: shelf.delete("a.pdf"), "is no longer there; put it back, or index again"),
        (lambda shelf: shelf.pdf("a.pdf", "white"), "has changed since it was listed; index it again"),
    ],
)
def test_what_becomes_of_an_object_after_it_was_listed_is_told(shelf, retriever, monkeypatch, happens, reason):
    find = discovery.find

    def found(*given, **how):
        listed = find(*given, **how)
        happens(shelf)
        return listed

    with monkeypatch.context() as patched:
        patched.setattr(discovery, "find", found)
        report = retriever.add(shelf.address, ocr="never")
    assert [(one.path, one.reason) for one in report.failed] == [(f"{shelf.address}/a.pdf", reason)]
    assert report.added == 3
    report = retriever.add(shelf.address, ocr="never")
    assert not report.failed
    assert report.pages == (1 if "changed" in reason else 0)


def test_a_download_that_breaks_off_is_told_and_nothing_of_it_stays(shelf, retriever, monkeypatch):
    get = shelf.obstore.get

    def halved(store, key, **how):
        whole = get(store, key, **how)
        content = bytes(whole.bytes())
        most = len(content) // 2 if key.endswith("a.pdf") else len(content)
        return SimpleNamespace(meta=whole.meta, bytes=lambda: content[:most])

    with monkeypatch.context() as patched:
        patched.setattr(shelf.obstore, "get", halved)
        report = retriever.add(shelf.address, ocr="never")
    (failure,) = report.failed
    assert "broke off after" in failure.reason
    assert left() == []
    assert added(retriever, shelf.address).pages == 2


def test_a_full_disk_is_told(shelf, retriever, monkeypatch):
    def full(one, target, *, stopped):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(objects, "fetch", full)
        report = retriever.add(f"{shelf.address}/a.pdf", ocr="never")
    assert "No space left on device); make room, or set TMPDIR" in report.failed[0].reason


def test_large_objects_come_in_pieces(shelf, retriever, monkeypatch):
    monkeypatch.setattr(objects, "RANGE", 100)
    one = shelf.at("a.pdf").head()
    assert b"".join(shelf.at("a.pdf").parts(one)) == shelf.get("a.pdf")
    assert one.size > 200
    shelf.put("empty.txt", b"")
    assert list(shelf.at("empty.txt").parts(shelf.at("empty.txt").head())) == []


@pytest.mark.parametrize("losses", [0, 0.4])
def test_other_machines_fetch_what_they_read(shelf, retriever, tmp_path, losses):
    shelf.pdf("long.pdf", *(COLOURS[i * 7 % 10] for i in range(43)))
    added(retriever, shelf.address)
    with Retriever.create(tmp_path / "parts.visret", model="toy") as other:
        added(other, shelf.address, executor=InParts(losses=losses))
        assert contents(other) == contents(retriever)
    assert left() == []


def test_a_machine_that_cannot_fetch_is_named(shelf, retriever, monkeypatch):
    def closed(self, one):
        raise DocumentError(one.url, "the object storage does not let this process in")

    monkeypatch.setattr(objects.Bucket, "parts", closed)
    report = retriever.add(shelf.address, ocr="never", executor=InParts())
    assert len(report.failed) == 3
    assert all(
        one.reason.endswith(f"does not let this process in (on {socket.gethostname()})") for one in report.failed
    )

    def lacks(self, one):
        raise MissingExtra("object storage needs obstore")

    monkeypatch.setattr(objects.Bucket, "parts", lacks)
    with pytest.raises(VisretError, match=f"{socket.gethostname()}: object storage needs obstore"):
        retriever.add(shelf.address, ocr="never", executor=InParts())


def test_reindex_replace_and_metadata(shelf, retriever, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(f"path,year\na.pdf,2001\n{shelf.address}/2024/b c.pdf,2002\n")
    index = str(retriever._index.path)
    asked = ["index", shelf.address, "--index", index, "--ocr", "never", "--metadata-file", str(table)]
    assert cli.main(asked) == 0
    retriever.refresh()
    assert {doc: retriever.document(doc).metadata.get("year") for doc in ("a.pdf", "2024/b c.pdf")} == {
        "a.pdf": 2001,
        "2024/b c.pdf": 2002,
    }
    seen = []
    added(retriever, f"{shelf.address}/a.pdf", metadata=lambda address: seen.append(address))
    assert seen == [f"{shelf.address}/a.pdf"]
    shelf.delete("2024/b c.pdf")
    report = retriever.reindex(codec="residual2", ocr="never")
    assert [(one.path, one.reason) for one in report.failed] == [
        (f"{shelf.address}/2024/b c.pdf", "is no longer there; put it back and index it again")
    ]
    assert retriever.document("a.pdf").pages
    shelf.pdf("new.pdf", "purple")
    assert not retriever.replace("a.pdf", f"{shelf.address}/new.pdf", ocr="never").failed
    assert retriever.document("a.pdf").source == f"{shelf.address}/new.pdf"
    assert retriever.replace("a.pdf", f"{shelf.address}/none.pdf").failed[0].reason == "no such file"


def test_find_and_estimate_take_addresses(shelf, retriever, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_open_streams", lambda: None)
    asked = ["find", "blue", shelf.address, "--model", "toy", "--ocr", "never", "--json", "-k1"]
    assert cli.main(asked) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["source"] == f"{shelf.address}/2024/b c.pdf"
    shelf.read.clear()
    assert cli.main(asked) == 0
    assert shelf.read == []
    capsys.readouterr()
    asked = ["index", shelf.address, "--index", str(retriever._index.path), "--estimate", "--model", "toy", "--json"]
    assert cli.main(asked) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 3


def test_what_cannot_be_listed_is_told_in_words(storage, tmp_path, monkeypatch):
    def reason(address):
        found = discovery.find(address)
        assert not found.sources
        assert not found.listed or "no documents" in found.failures[0].reason
        return found.failures[0].reason

    if storage.startswith("s3"):
        bucket = f"{os.environ['AWS_ENDPOINT_URL']}/{storage.removeprefix('s3://')}"
        asked = urllib.request.Request(f"{bucket}/odd//a.pdf", data=b"", method="PUT")
        urllib.request.urlopen(asked).close()
        assert "has a name that obstore does not read; rename it" in reason(f"{storage}/odd")
        assert reason("s3://no-such-bucket-here/a") == "cannot be listed: there is no bucket 'no-such-bucket-here'"
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setattr(objects, "RETRIES", {"max_retries": 0})
        assert "does not answer as it should" in reason(storage)
        with pytest.raises(InvalidArgument, match="an address has a bucket"):
            discovery.find("s3://")
    else:
        assert "no documents at this address" in reason(f"{storage}/none")
        with pytest.raises(InvalidArgument, match="by its whole path"):
            discovery.find("file://docs")
    reason = discovery.find(Path("s3://bucket/a")).failures[0].reason
    assert reason == "no such file or folder; write an address as text, not as a pathlib.Path"


def test_who_may_not_look_is_told_which_keys_are_needed(monkeypatch):
    from obstore.exceptions import PermissionDeniedError

    bucket = objects.Bucket("s3://bucket/a")
    for said in ("403 Forbidden: AccessDenied", "Error performing PUT http://169.254.169.254/latest/api/token"):
        with (
            pytest.raises(DocumentError, match="check the keys in the environment, such as AWS_ACCESS_KEY_ID"),
            bucket.asking(),
        ):
            raise PermissionDeniedError(said)


def test_without_obstore_the_package_is_named(shelf, retriever, monkeypatch):
    added(retriever, shelf.address)
    monkeypatch.setitem(sys.modules, "obstore", None)
    page, error = retriever.read(("a.pdf", 1))
    assert page.image is None
    assert "visret[objects]" in error.reason
    with pytest.raises(MissingExtra, match=r"visret\[objects\]"):
        discovery.find("s3://bucket/a")


def test_object_storage_is_not_watched(tmp_path, capsys):
    assert cli.main(["watch", "s3://bucket/a", "--index", str(tmp_path / "i.visret"), "--model", "toy"]) == 2
    assert "visret index s3://bucket/a --sync" in capsys.readouterr().err


def test_a_server_does_not_ask_object_storage():
    code = """
from visret.server import offline
offline.stay(originals=["s3://bucket/open/"])
from visret.stores import objects
from visret.errors import DocumentError
for address, asked in (("closed/a.pdf", False), ("open.pdf", False), ("open/a.pdf", True)):
    try:
        objects.Bucket(f"s3://bucket/{address}").head()
    except DocumentError as error:
        assert ("what --originals names" not in str(error)) == asked, error
"""
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env={**os.environ, **nowhere})
