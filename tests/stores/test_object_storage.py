"""LanceDB on object storage: the same answers from a server that speaks S3, to which two write at once."""

from threading import Thread

import pytest
from support.stores import Noisy, assert_alike, filled, page

from visret import Retriever, stores
from visret.errors import PageIndexError, VisretError
from visret.stores import lancedb

pytest.importorskip("lancedb", reason="pip install 'visret[lancedb]' for these tests")
server_of = pytest.importorskip("moto.server", reason="pip install 'moto[server]' for these tests")
boto3 = pytest.importorskip("boto3", reason="pip install boto3 for these tests")


@pytest.fixture(scope="module")
def bucket():
    """The address of a new bucket, on a server of S3 in this process."""
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="pages")
        yield "lancedb+s3://pages"
    server.stop()


def test_a_bucket_answers_as_the_index_does(tmp_path, bucket):
    url = f"{bucket}/a folder/index"
    with filled(tmp_path / "index", documents=6) as local:
        pages = len(local._index.snapshot)
        with pytest.raises(PageIndexError, match="visret export"):
            Retriever.open(url)
        assert stores.export(tmp_path / "index", url)[:3] == (pages, 0, 0)
        with Retriever.open(url, model=Noisy()) as store:
            for how in ({}, {"where": {"year": {">": 2016}}}, {"by": "bm25"}):
                assert_alike(
                    [store.search("red green", exact=True, **how)], [local.search("red green", exact=True, **how)]
                )
            gone = len(local.document("1.pdf").pages)
            local.remove("1.pdf")
            assert stores.export(tmp_path / "index", url)[:3] == (0, pages - gone, gone)
            store.refresh()
            assert_alike([store.search("red")], [local.search("red", exact=True)])


def test_two_write_at_once(tmp_path, bucket, monkeypatch):
    """What one commits, the other does not overwrite: S3 takes a version of the table only if there is none yet."""
    url, failed, names = f"{bucket}/both", [], ("a", "b")
    for name in names:
        with Retriever.create(tmp_path / name, model=Noisy()) as local:
            local.add_pages([page(f"{name}.pdf", 1, ["red"])])
            if name == "a":
                stores.export(tmp_path / "a", url, keep=True)
            local.add_pages([page(f"{name}{number}.pdf", 1, ["red", "blue"]) for number in range(8)])
    monkeypatch.setattr(lancedb.Table, "batch", 1)  # a commit for each page

    def write(name):
        try:
            stores.export(tmp_path / name, url, keep=True)
        except VisretError as error:
            failed.append(error)

    threads = [Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with Retriever.open(url, model=Noisy()) as store:
        assert len(store.documents()) == 18
        assert len(store.search("red", k=20, by="bm25")) == 18
        assert len(store.search("red", k=20, where={"doc": "b5.pdf"})) == 1
