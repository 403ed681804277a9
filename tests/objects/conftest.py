"""Object storage: a folder, and a server of S3 (moto)."""

import urllib.request

import pytest


@pytest.fixture(scope="session")
def server():
    """A server of S3."""
    moto = pytest.importorskip("moto.server", reason="pip install 'moto[server]' for the tests of S3")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    yield f"http://127.0.0.1:{running.get_host_and_port()[1]}"
    running.stop()


@pytest.fixture(params=["file", "s3"])
def storage(request, tmp_path, monkeypatch):
    """The address of an empty place, in a folder and on the server."""
    monkeypatch.setenv("VISRET_CACHE", str(tmp_path / "cache"))
    if request.param == "file":
        return f"file://{tmp_path / 'bucket'}"
    for name, value in {
        "ENDPOINT_URL": request.getfixturevalue("server"),
        "ALLOW_HTTP": "true",
        "ACCESS_KEY_ID": "testing",
        "SECRET_ACCESS_KEY": "testing",
        "REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    bucket = f"b{abs(hash(str(tmp_path)))}"
    asked = urllib.request.Request(f"{request.getfixturevalue('server')}/{bucket}", method="PUT")
    urllib.request.urlopen(asked).close()
    return f"s3://{bucket}"
