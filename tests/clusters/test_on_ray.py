"""A Ray cluster of several nodes makes the index of one process, whatever becomes of its nodes, actors and drivers."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import clusters
from support.in_parts import contents
from support.sheets import write_pdf

import visret
from visret import Retriever, cli
from visret.embedders import load_embedder
from visret.embedders._given import embedder_of
from visret.encoders.toy import ToyEncoder
from visret.errors import InvalidArgument, VisretError
from visret.ingest import on_ray, parts
from visret.ingest.on_ray import OnRay
from visret.types import Page

ray = pytest.importorskip("ray.cluster_utils", reason="pip install 'visret[ray]' for these tests")
ROOT = Path(__file__).parents[2]
COLOURS = ("red", "green", "blue", "yellow", "cyan", "magenta", "orange", "purple", "white", "black")

pytestmark = pytest.mark.filterwarnings("default")  # those of Ray are not ours


@pytest.fixture(scope="module")
def cluster():
    with clusters.nodes() as made:
        yield made


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shelf")
    write_pdf(folder / "long.pdf", *(COLOURS[i * 7 % 10] for i in range(200)))
    for number in range(8):
        write_pdf(folder / f"short-{number}.pdf", *COLOURS[number : number + 2])
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 and nothing else")
    return folder


@pytest.fixture(scope="module")
def whole(shelf, tmp_path_factory):
    with Retriever.create(tmp_path_factory.mktemp("whole") / "i.visret", model="toy") as retriever:
        report = retriever.add(shelf, ocr="never")
        return report, contents(retriever), found(retriever)


def found(retriever):
    """Every page with its score for each colour; those with the same score come as they are stored, in any order."""
    return [sorted((hit.score, hit.ref) for hit in retriever.search(colour, k=300)) for colour in COLOURS]


def check(retriever, whole, pages):
    """Nothing is lost or doubled, the answers are the same to the last bit, and what failed is in the report."""
    assert contents(retriever) == whole[1]
    assert found(retriever) == whole[2]
    assert pages == whole[0].pages == 216


def test_two_nodes_make_the_index_of_one_process(cluster, shelf, whole, retriever, monkeypatch):
    monkeypatch.setattr("visret.ingest.report.SILENT", 0.0)  # the run may take less
    told = []
    report = retriever.add(
        shelf, ocr="never", executor=OnRay(cluster.address), progress=lambda p: told.append((p.pages, p.seconds_left))
    )
    check(retriever, whole, report.pages)
    assert report.failed == whole[0].failed
    assert any(left for _, left in told)
    assert told[-1] == (216, 0.0)
    assert retriever.add(shelf, ocr="never", executor=OnRay(cluster.address)).pages == 0


def test_a_codec_is_learned_before_pages_are_packed_elsewhere(cluster, shelf, tmp_path):
    made = []
    for name, executor in (("here", None), ("ray", OnRay(cluster.address))):
        with Retriever.create(tmp_path / name, model="toy", codec="residual2") as retriever:
            retriever.add(shelf, ocr="never", executor=executor)
            made.append(contents(retriever))
    assert made[0] == made[1]


def test_a_node_is_lost_in_the_middle(cluster, shelf, whole, retriever):
    def kill():
        cluster.kill()
        cluster.join()

    progress = clusters.After(1, kill)
    report = retriever.add(shelf, ocr="never", executor=OnRay(cluster.address), progress=progress)
    assert progress.done
    check(retriever, whole, report.pages)


def test_an_actor_is_lost_in_the_middle(cluster, shelf, whole, retriever):
    killed = []

    def kill():
        import psutil

        for process in psutil.process_iter(["name", "cmdline"]):
            if "ray::PartEncoder" in " ".join(process.info["cmdline"] or ()) and is_ours(process):
                process.kill()
                killed.append(process.pid)
                return

    report = retriever.add(shelf, ocr="never", executor=OnRay(cluster.address), progress=clusters.After(1, kill))
    assert killed
    check(retriever, whole, report.pages)


def is_ours(process):
    """Whether a process belongs to a cluster that this one started."""
    return os.getpid() in {parent.pid for parent in process.parents()}


def test_the_driver_is_killed_and_run_again(cluster, shelf, whole, tmp_path):
    command = [sys.executable, "-c", DRIVER, str(shelf), str(tmp_path / "i"), cluster.address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert any(line.strip().isdigit() for line in process.stdout)  # Ray has things to say, too
        finally:
            process.kill()
    with Retriever.open(tmp_path / "i") as retriever:
        before = len(contents(retriever)[1])
        assert 0 < before < 216
        report = retriever.add(shelf, ocr="never", executor=OnRay(cluster.address))
        check(retriever, whole, before + report.pages)


DRIVER = """
import sys, time
from visret import Retriever
from visret.ingest import recorder
from visret.ingest.on_ray import OnRay
from visret.types import Page
recorder.COMMIT_SECONDS = 0.0, 0.0
def tell(progress):
    if progress.pages > 20:
        print(progress.pages, flush=True)
        time.sleep(600)
with Retriever.create(sys.argv[2], model="toy") as retriever:
    retriever.add(sys.argv[1], ocr="never", executor=OnRay(sys.argv[3]), progress=tell)
"""


def test_the_command_indexes_on_a_cluster(cluster, papers, tmp_path, capsys):
    arguments = ["index", str(papers), "--index", str(tmp_path / "i"), "--model", "toy", "--ray", cluster.address]
    assert cli.main(arguments) == 0
    assert "3 pages" in capsys.readouterr().out
    assert cli.main([*arguments, "--estimate"]) == 2
    assert "--estimate measures this machine: leave out --ray" in capsys.readouterr().err


def test_nodes_fetch_objects_themselves(cluster, shelf, whole, retriever):
    pytest.importorskip("obstore", reason="pip install 'visret[objects]' for this test")
    report = retriever.add(f"file://{shelf}", ocr="never", executor=OnRay(cluster.address))
    assert report.pages == whole[0].pages
    assert {failure.path for failure in report.failed} == {f"file://{shelf}/broken.pdf"}
    documents, *pages = contents(retriever)
    assert pages == list(whole[1][1:])
    assert {doc: one[1:] for doc, one in documents.items()} == {doc: one[1:] for doc, one in whole[1][0].items()}
    assert retriever.add(f"file://{shelf}", ocr="never", executor=OnRay(cluster.address)).pages == 0


def test_what_nothing_answers_at_is_refused_within_seconds(papers, retriever, monkeypatch):
    monkeypatch.setattr(on_ray, "ANSWER_SECONDS", 5.0)
    began = time.monotonic()
    with pytest.raises(VisretError, match="no Ray cluster answers at 127"):
        retriever.add(papers, executor=OnRay("127.0.0.1:1"))
    with socket.socket() as other:  # it listens, and is no Ray
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(VisretError, match="no Ray cluster answers"):
            retriever.add(papers, executor=OnRay(f"127.0.0.1:{other.getsockname()[1]}"))
    assert time.monotonic() - began < 4 * on_ray.ANSWER_SECONDS


def test_another_version_is_refused(cluster, papers, retriever, monkeypatch):
    monkeypatch.setattr(visret, "__version__", "9.9")
    with pytest.raises(VisretError, match=r"and this machine 9\.9: install the same version on all"):
        retriever.add(papers, executor=OnRay(cluster.address))


def test_a_node_that_does_not_see_a_file_is_refused(cluster, papers, retriever, monkeypatch):
    made = parts.Cut._whole

    def other(self, number):
        part = made(self, number)
        return replace(part, task=replace(part.task, size=part.task.size + 1))

    monkeypatch.setattr(parts.Cut, "_whole", other)
    monkeypatch.setattr(on_ray, "unseen", lambda part: None)
    with pytest.raises(VisretError, match=r"does not see .*one\.pdf as this machine does .*under the same paths"):
        retriever.add(papers, executor=OnRay(cluster.address))


def test_more_gpus_than_there_are_are_refused(cluster, papers, retriever):
    with pytest.raises(VisretError, match="lacks the core and the 2 GPUs that an encoder takes"):
        retriever.add(papers, executor=OnRay(cluster.address, gpus=2))
    with pytest.raises(InvalidArgument, match="gpus"):
        OnRay(gpus=-1)


def test_an_encoder_of_ones_own_is_sent(cluster, papers, tmp_path, toy):
    class Own(ToyEncoder):
        """An encoder that visret does not know."""

    with Retriever.create(tmp_path / "i", model=Own(toy.spec)) as retriever:
        assert retriever.add(papers, executor=OnRay(cluster.address)).pages == 3
    lock = Own(toy.spec)
    lock.lock = socket.socket()
    with (
        lock.lock,
        Retriever.create(tmp_path / "j", model=lock) as retriever,
        pytest.raises(InvalidArgument, match="cannot be sent to other processes"),
    ):
        retriever.add(papers, executor=OnRay(cluster.address))


ADDED = "granite-embedding-30m-english"


def test_an_added_model_makes_its_vectors_on_the_cluster(cluster, tmp_path):
    for number, colour in enumerate(COLOURS):
        (tmp_path / "notes").mkdir(exist_ok=True)
        (tmp_path / "notes" / f"{number}.txt").write_text(f"The {colour} boat is number {number}.", "utf8")
    found = []
    for executor in (None, OnRay(cluster.address)):
        with Retriever.create(tmp_path / str(executor is None), model="none") as retriever:
            retriever.add_model(ADDED)
            assert retriever.add(tmp_path / "notes", executor=executor).pages == 10
            assert retriever.info()["added_models"] == [f"dense: {ADDED}, 10 of 10 pages"]
            found.append(
                [(hit.doc, hit.score) for hit in retriever.search("a boat in the colour of blood", by="dense")]
            )
    assert [doc for doc, _ in found[0]] == [doc for doc, _ in found[1]]
    assert [score for _, score in found[0]] == pytest.approx([score for _, score in found[1]], abs=1e-3)


def test_pages_of_an_actor_that_is_lost_are_given_to_another(cluster, monkeypatch):
    embedder = load_embedder(ADDED, dtype="float32")
    pages = [Page.from_text(f"{COLOURS[i % 10]} paper number {i}. " * (i + 1), doc=str(i)) for i in range(30)]
    free, lost = on_ray._Pool.free, []

    def free_once_dead(self):
        actor = free(self)
        if actor is not None and not lost:
            lost.append(actor)
            self.ray.kill(actor.handle)
        return actor

    monkeypatch.setattr(on_ray._Pool, "free", free_once_dead)
    with OnRay(cluster.address).embedding(embedder) as there:
        made = there.embed_pages(pages)
    assert len(lost) == 1
    for mine, theirs in zip(embedder.embed_pages(pages), made, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_pages_that_end_every_actor_are_named(cluster, monkeypatch):
    free = on_ray._Pool.free

    def free_and_dead(self):
        if (actor := free(self)) is not None:
            self.ray.kill(actor.handle)
        return actor

    monkeypatch.setattr(on_ray._Pool, "free", free_and_dead)
    monkeypatch.setattr(on_ray, "MAX_LOST", 2)
    with (
        OnRay(cluster.address).embedding(load_embedder(ADDED)) as there,
        pytest.raises(VisretError, match="2 encoders in a row ended while they read these pages"),
    ):
        there.embed_pages([Page.from_text("red", doc="a")])


def test_a_function_stays_in_its_process(cluster):
    own = embedder_of(lambda texts: np.ones((len(texts), 2)), "own", None)
    with OnRay(cluster.address).embedding(own) as there:
        assert there is own
