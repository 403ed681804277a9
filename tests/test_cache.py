"""What `visret find` remembers: whole entries of models that load, and nothing at all where nothing can be kept."""

import json
import os
import sqlite3
import time
from contextlib import closing

import platformdirs
import pytest

from visret import cache, cli, ocr
from visret.encoders import toy
from visret.errors import WeightsError
from visret.models import registry
from visret.ocr import engines
from visret.types import Page


@pytest.fixture(autouse=True)
def find_folder(own_cache):
    return own_cache / "find"


def find(capsys, papers, *more):
    """-> exit status, the best hit's document, stderr"""
    status = cli.main(["find", "blue", str(papers), "--model", "toy", "--json", *more])
    out, err = capsys.readouterr()
    return status, json.loads(out)["hits"][0]["doc"] if out else None, err


def make(papers):
    """An entry without pages, or the one that there is."""
    with cache.open_cached([papers], model="toy"):
        pass


@pytest.mark.parametrize("failure", [WeightsError("damaged"), KeyboardInterrupt(), MemoryError()])
def test_a_model_that_does_not_load_leaves_no_entry(find_folder, papers, monkeypatch, failure):
    def load(*_, **__):
        raise failure

    monkeypatch.setattr(toy, "load", load)
    with pytest.raises(type(failure)), cache.open_cached([papers], model="toy"):
        pass
    assert not find_folder.exists()


def test_a_run_killed_while_it_made_an_entry_left_none(capsys, find_folder, papers):
    make(papers)
    (entry,) = cache.cached()
    entry.folder.rename(find_folder / "draft")
    (find_folder / f"{entry.folder.name}.left").mkdir()
    (find_folder / "draft").rename(find_folder / f"{entry.folder.name}.left" / "entry")
    (left,) = cache.cached()
    assert not left.complete
    cli.main(["cache"])
    assert "was stopped while it was made; visret cache --clear removes it" in capsys.readouterr().out
    make(papers)  # it is in nobody's way
    assert sorted(entry.complete for entry in cache.cached()) == [False, True]


def test_a_new_default_model_reads_the_files_once_more_and_says_so(papers, caplog, monkeypatch):
    monkeypatch.setattr(cache, "LATE_MODEL", "toy")
    monkeypatch.setattr(cache, "DEFAULT_MODEL", "none")
    said = "the default model is none now, so these files are read once more; what toy made of them is used by --model"
    with cache.open_cached([papers], model="none"):
        assert said not in caplog.text
    cache.clear()
    make(papers)
    for _ in range(2):  # the second time there is an entry
        with cache.open_cached([papers], model="none"):
            assert caplog.text.count(said) == 1


def test_old_leftovers_go_when_an_entry_is_made(find_folder, papers):
    for name, age in (("0123.abc", 2 * cache.UNFINISHED), ("4567.abc", 0), ("89ab", 2 * cache.UNFINISHED)):
        (find_folder / name).mkdir(parents=True)
        os.utime(find_folder / name, (time.time() - age,) * 2)
    make(papers)
    assert [entry.folder.name for entry in cache.cached() if not entry.complete] == ["4567.abc"]


def test_an_entry_of_an_older_format_is_made_again_and_says_so(capsys, caplog, find_folder, papers):
    make(papers)
    (catalogue,) = find_folder.glob("*/index/catalogue.sqlite")
    with closing(sqlite3.connect(catalogue)) as connection:
        connection.execute("PRAGMA user_version = 1")
    assert find(capsys, papers)[:2] == (0, "one.pdf")
    assert "everything is read again" in caplog.text
    assert "format 1" in caplog.text
    caplog.clear()
    make(papers)
    assert not caplog.text
    assert len(cache.cached()) == 1


def test_who_is_second_to_make_an_entry_takes_that_of_the_first(find_folder, papers):
    encoder = toy.load(registry.get("toy"), dtype="auto", device="auto", threads=None)
    note = {"paths": [str(papers)], "model": "toy"}
    with (
        cache._make(find_folder / "a", encoder, note) as first,
        cache._make(find_folder / "a", encoder, note) as second,
    ):
        first.add_pages([Page.from_text("red", doc="a")])
        second.refresh()
        assert second.documents() == ["a"]


def test_without_a_cache_find_goes_on_and_leaves_nothing(capsys, caplog, papers, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISRET_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert find(capsys, papers, "--pictures", str(tmp_path / "pictures"))[:2] == (0, "one.pdf")
    assert "set VISRET_CACHE to a folder that can be written" in caplog.text
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_user_without_a_home_folder_has_no_cache(caplog, papers, tmp_path, monkeypatch):
    """A folder called ~ is not made where the command runs."""
    monkeypatch.delenv("VISRET_CACHE")
    monkeypatch.chdir(tmp_path)

    def fail(*_, **__):
        raise RuntimeError("could not determine the home directory")

    for homeless in (fail, lambda *_, **__: "~/.cache/visret"):
        monkeypatch.setattr(platformdirs, "user_cache_dir", homeless)
        caplog.clear()
        make(papers)
        assert "nothing can be stored" in caplog.text
        assert not (tmp_path / "~").exists()
        assert cache.cached() == []


def test_what_was_read_from_pictures_and_cannot_be_kept_is_said_once(caplog, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISRET_CACHE", str(tmp_path / "file"))
    for page in ("a", "b"):
        file = tmp_path / "file" / "ocr" / f"{page}.json"
        assert engines._load(file) is None
        engines._save(file, ocr.Reading((), ()))
    assert caplog.text.count("cannot be kept") == 1


def test_a_damaged_note_is_no_obstacle(find_folder, papers):
    make(papers)
    (file,) = find_folder.glob("*/find.json")
    for note in ("[]", '{"paths": 1, "model": "toy"}', '{"pat', "null", "{}"):
        file.write_text(note)
        (entry,) = cache.cached()
        assert (entry.paths, entry.model, entry.complete) == ([], "?", True)
    assert cache.clear() == 1


def test_what_cannot_be_removed_is_said(capsys, papers, monkeypatch):
    make(papers)

    def fail(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(cache.shutil, "rmtree", fail)
    assert cli.main(["cache", "--clear"]) == 1
    assert "cannot be removed: Permission denied" in capsys.readouterr().err
