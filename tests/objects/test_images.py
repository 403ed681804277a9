"""An image of an index on object storage: in a folder, and on a server of S3 (moto)."""

import hashlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from support.pages import add, create
from support.serving import Server

from visret import Page, Retriever, cli, stores
from visret.errors import IndexFormatError, InvalidArgument, MissingExtra, PageIndexError
from visret.index import PageIndex

pytest.importorskip("obstore", reason="pip install 'visret[objects]' for these tests")

from visret.stores import images


@pytest.fixture
def url(storage):
    """An address without an image."""
    return f"{storage}/pages"


@pytest.fixture
def index(tmp_path):
    """An index of two documents in two segments."""
    path = tmp_path / "i.visret"
    with create(path) as made:
        for doc in ("a.pdf", "b.pdf"):
            with made.writing() as writer:
                add(writer, doc, (1, 2))
    return path


def docs(image):
    return sorted(image.snapshot.docs())


def fetched(monkeypatch):
    """The names of the objects that are fetched from now on."""
    names = []
    fetch = images._Place.fetch

    def noted(self, name, target):
        names.append(name)
        return fetch(self, name, target)

    monkeypatch.setattr(images._Place, "fetch", noted)
    return names


def test_an_image_answers_as_the_index_does(url, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_open_streams", lambda: None)
    path = tmp_path / "colours.visret"
    with Retriever.create(path, model="toy", codec="residual2") as local:
        local.add_pages([Page.from_image(Picture.new("RGB", (64, 96), name), doc=name) for name in ("red", "blue")])
        assert cli.main(["publish", str(path), url]) == 0
        assert "files, of which" in capsys.readouterr().out
        with Retriever.open(url) as image:
            for question in ("red", "blue", "green"):
                assert image.search(question) == local.search(question)
            assert image.picture(("red", 1)).getpixel((3, 3)) == (255, 0, 0)
            assert image.info()["pages"] == 2
            with pytest.raises(InvalidArgument, match="which is only searched"):
                image.add_pages([Page.from_text("green", doc="green")])
            with pytest.raises(InvalidArgument, match="which is only searched"):
                image.remove("red")
            with pytest.raises(InvalidArgument, match="which is only searched"):
                image.compact()
    assert cli.main(["search", url, "red", "-k1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["doc"] == "red"


def test_only_what_is_new_is_sent_and_fetched(url, index, monkeypatch):
    first = stores.publish(index, url)
    assert first.files // 2 < first.sent <= first.files  # arrays that are the same are one object
    assert stores.publish(index, url).sent == 0
    names = fetched(monkeypatch)
    with images.Image(url) as image:
        everything = len(names)
        assert docs(image) == ["a.pdf", "b.pdf"]
        before = image.snapshot
        assert not image.refresh()
        with PageIndex.open(index) as opened, opened.writing() as writer:
            add(writer, "c.pdf")
        assert not image.refresh()  # what is not published is not seen
        again = stores.publish(index, url)
        assert 0 < again.sent < first.files
        names.clear()
        assert image.refresh()
        assert docs(image) == ["a.pdf", "b.pdf", "c.pdf"]
        assert 0 < len(names) <= again.sent < everything
        assert image.snapshot.segments[0] is before.segments[0]  # still mapped
        with PageIndex.open(index) as opened:
            opened.compact()
        stores.publish(index, url)
        assert image.refresh()
        assert docs(image) == ["a.pdf", "b.pdf", "c.pdf"]
        np.testing.assert_array_equal(before.embedding(("b.pdf", 2)).vectors, image.embedding(("b.pdf", 2)).vectors)
        names.clear()
        with images.Image(url) as other:  # another process finds all of it in the cache folder
            assert docs(other) == docs(image)
        assert names == []


def test_another_index_in_the_same_place_is_seen_though_it_has_as_many_commits(url, index, tmp_path):
    stores.publish(index, url)
    with images.Image(url) as image:
        with create(tmp_path / "other") as made:
            for doc in ("x.pdf", "y.pdf"):
                with made.writing() as writer:
                    add(writer, doc, (1, 2))
        stores.publish(tmp_path / "other", url)
        assert image.refresh()
        assert docs(image) == ["x.pdf", "y.pdf"]
        with PageIndex.open(tmp_path / "other") as local:
            for ref in (("x.pdf", 1), ("y.pdf", 2)):
                np.testing.assert_array_equal(image.embedding(ref).vectors, local.embedding(ref).vectors)


def test_of_two_publishers_one_is_told_and_nothing_is_mixed(url, index, tmp_path, monkeypatch):
    with create(tmp_path / "other") as made, made.writing() as writer:
        add(writer, "x.pdf")
    send = images._send

    def overtaken(place, files, progress):
        monkeypatch.setattr(images, "_send", send)
        with PageIndex.open(tmp_path / "other") as opened, opened.writing() as writer:
            add(writer, "x.pdf")  # or it would be the same image
        stores.publish(tmp_path / "other", url)  # between the look at the head and its replacement
        return send(place, files, progress)

    for _ in range(2):  # where there is no head yet, and where there is one
        monkeypatch.setattr(images, "_send", overtaken)
        with pytest.raises(PageIndexError, match="somebody else has published there meanwhile"):
            stores.publish(index, url)
        with images.Image(url) as image:
            assert docs(image) == ["x.pdf"]
    stores.publish(index, url)
    with images.Image(url) as image:
        assert docs(image) == ["a.pdf", "b.pdf"]


def test_a_fetch_that_breaks_off_gives_an_error_and_goes_on_later(url, index, tmp_path, monkeypatch):
    stores.publish(index, url)
    fetch, names = images._Place.fetch, []

    def broken(self, name, target):
        if len(names) >= 3:
            target.write_bytes(b"half")
            raise PageIndexError(self.url, "the object storage does not answer")
        names.append(name)
        return fetch(self, name, target)

    monkeypatch.setattr(images._Place, "fetch", broken)
    with pytest.raises(PageIndexError, match="does not answer"):
        images.Image(url)
    monkeypatch.setattr(images._Place, "fetch", fetch)
    names = fetched(monkeypatch)
    with images.Image(url) as image:
        assert docs(image) == ["a.pdf", "b.pdf"]
        first = len(names)
        assert first == len({*names})
        with PageIndex.open(index) as opened, opened.writing() as writer:
            add(writer, "c.pdf")
        stores.publish(index, url)
        monkeypatch.setattr(images._Place, "fetch", broken)
        with pytest.raises(PageIndexError, match="does not answer"):
            image.refresh()
        assert docs(image) == ["a.pdf", "b.pdf"]  # all of what was there before
        assert image.embedding(("b.pdf", 2)).ref == ("b.pdf", 2)
        monkeypatch.setattr(images._Place, "fetch", fetch)
        assert image.refresh()
        assert docs(image) == ["a.pdf", "b.pdf", "c.pdf"]


def test_what_is_damaged_or_missing_is_told_and_never_used(url, index, monkeypatch):
    with pytest.raises(PageIndexError, match="no image is there; visret publish INDEX"):
        images.Image(url)
    stores.publish(index, url)
    place = images._Place(url)
    name = next(iter(place.sizes("files")))
    whole = place.get(f"files/{name}")[0]
    place.put(f"files/{name}", b"x" * len(whole))
    with pytest.raises(IndexFormatError, match="checksum differs"):
        images.Image(url)
    place._obstore.delete(place._store, f"files/{name}")
    with pytest.raises(IndexFormatError, match="a file of this image is missing"):
        images.Image(url)
    assert stores.publish(index, url).sent == 1  # what is missing is sent again, and nothing else
    with images.Image(url) as image:
        assert docs(image) == ["a.pdf", "b.pdf"]
    for text in (b"", b"{", b"[]", b'{"image": "../../etc"}', b'{"image": 3}'):
        place.put(images.HEAD, text)
        with pytest.raises(IndexFormatError, match=r"head\.json is damaged"):
            images.Image(url)


@pytest.mark.parametrize("name", ["../x.npy", "/etc/passwd", "segments/../../x.npy", "a/.ssh", "C:\\x.npy", ""])
def test_an_image_of_a_stranger_writes_nothing_outside(url, index, tmp_path, name):
    stores.publish(index, url)
    place = images._Place(url)
    sha = next(iter(place.sizes("files")))
    for files in ({name: [sha, 1]}, {"x.npy": [f"../{sha}", 1]}, {"x.npy": [sha, "1"]}, {"x.npy": [sha]}, {"x.npy": 3}):
        text = json.dumps(files).encode()
        image = hashlib.sha256(text).hexdigest()
        place.put(f"images/{image}.json", text)
        place.put(images.HEAD, json.dumps({"image": image, "commits": 1}).encode())
        with pytest.raises(IndexFormatError, match="do not trust it"):
            images.Image(url)


def test_a_damaged_index_is_not_published(url, index):
    path = index / "segments" / "000001" / "vectors.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexFormatError, match=r"vectors\.npy is damaged"):
        stores.publish(index, url)
    path.unlink()
    with pytest.raises(PageIndexError, match="is missing; run visret verify"):
        stores.publish(index, url)
    with pytest.raises(PageIndexError, match="no image is there"):
        images.Image(url)


def test_processes_that_open_it_at_once_fetch_every_file_once(url, index, monkeypatch):
    stores.publish(index, url)
    names, errors = fetched(monkeypatch), []

    def open_():
        try:
            with images.Image(url) as image:
                assert docs(image) == ["a.pdf", "b.pdf"]
        except Exception as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=open_) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(names) == len({*names})


def test_images_that_were_left_long_ago_leave_the_cache_folder(url, index, tmp_path):
    sizes = []
    with PageIndex.open(index) as opened:
        for number in range(5):
            with opened.writing() as writer:
                if number:
                    writer.remove(f"{number - 1}.pdf")
                add(writer, f"{number}.pdf")
            opened.compact()
            stores.publish(index, url)
            images.Image(url).close()
            (cache,) = (tmp_path / "cache" / "images").iterdir()
            sizes.append((len([*cache.iterdir()]), len([*(cache / "files").iterdir()])))
    assert sizes[-1] == sizes[-2] == sizes[-3]


def test_addresses_that_name_no_image_are_told(tmp_path, index, monkeypatch):
    for url, said in (
        ("s3://bucket", "an image has a bucket and a name"),
        ("file://here/pages", "a folder is named by its whole path"),
        ("ftp://x/y", "an address here begins with s3://"),
        ("qdrant://localhost/pages", "an address here begins with s3://"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            stores.publish(index, url)
    with pytest.raises(InvalidArgument, match="an address here begins with qdrant://"):
        stores.export(index, f"file://{tmp_path}/x")
    monkeypatch.setenv("VISRET_CACHE", "/dev/null/x")
    stores.publish(index, f"file://{tmp_path}/x")
    with pytest.raises(PageIndexError, match="set VISRET_CACHE"):
        images.Image(f"file://{tmp_path}/x")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingExtra, match=r"visret\[objects\]"):
        stores.publish(index, "s3://bucket/pages")


def test_servers_of_an_image_see_what_is_published_and_refuse_changes(url, tmp_path):
    def page(name):
        return Page.from_image(Picture.new("RGB", (64, 96), name), doc=name)

    path = tmp_path / "colours.visret"
    with Retriever.create(path, model="toy") as local:
        local.add_pages([page("red")])
        stores.publish(path, url)
        server = Server(url, "--no-ui", "--workers", "2", "--rate", "5000")
        assert server.search("red")["hits"][0]["doc"] == "red"
        local.add_pages([page("blue")])
        stores.publish(path, url)
    for _ in range(6):  # whichever process answers
        assert server.ask("/page/blue/1.png").status == 200
        assert server.search("blue")["hits"][0]["doc"] == "blue"
    answer = server.upload(("red.png", b""))
    assert (answer.status, "only reads" in json.loads(answer.content)["detail"]) == (403, True)
    status, _, complaints = server.stop(signal.SIGTERM)
    assert (status, complaints) == (128 + signal.SIGTERM, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_searches_on_and_is_told_that_it_cannot_fetch(url, index):
    stores.publish(index, url)
    with images.Image(url) as image:
        child = os.fork()
        if not child:
            signal.alarm(60)
            try:
                assert image.embedding(("b.pdf", 2)).ref == ("b.pdf", 2)
                for work in (image.refresh, lambda: images.Image(url)):
                    with pytest.raises(PageIndexError, match="open it after the fork"):
                        work()
            except BaseException:  # noqa: BLE001 - whatever it is, the child must end here
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert not image.refresh()


def test_an_image_is_the_folder_of_an_index(url, index, tmp_path):
    stores.publish(index, url)
    with images.Image(url) as image:
        assert image.verify() == []
        assert Path(image.path).is_relative_to(tmp_path / "cache")
