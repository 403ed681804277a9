"""`visret models fetch`, against a stand-in for the Hugging Face hub on this machine."""

import dataclasses
import json
import os
import subprocess
import sys
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from visret.errors import UnknownModel, WeightsError
from visret.models import registry, weights
from visret.models.fetch import base_folder, fetch, weights_folder
from visret.types import ModelSpec

COMMIT = "c" * 40


class Hub:
    """Serves repositories: listings, and files with their ETag; `broken` files cannot be read."""

    def __init__(self):
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        self.broken: set[str] = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.answer(self, body=True)

            def do_HEAD(self):
                hub.answer(self, body=False)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request, *, body):
        parts = unquote(urlsplit(request.path).path).strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        name, rest = "/".join(parts[2:4] if api else parts[:2]), parts[4 if api else 2 :]
        files, content, etag = self.repositories.get(name), None, ""
        if files is not None and api and rest[:1] == ["tree"]:
            listing = [
                {"type": "file", "path": path, "size": len(data), "oid": sha1(data).hexdigest()}
                for path, data in files.items()
            ]
            content = json.dumps(listing).encode()
        elif files is not None and api:
            siblings = [{"rfilename": path} for path in files]
            content = json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode()
        elif files is not None and rest[:2] == ["resolve", COMMIT]:
            path = "/".join(rest[2:])
            content = files.get(path)
            etag = sha1(content or b"").hexdigest()
            if body:
                self.asked.append(f"{name}/{path}")
        if body and rest[-1:] and rest[-1] in self.broken:
            content = None
        request.send_response(200 if content is not None else 404)
        if content is None:
            request.send_header("X-Error-Code", "RepoNotFound")
        content = content or b""
        request.send_header("Content-Length", str(len(content)))
        request.send_header("X-Repo-Commit", COMMIT)
        request.send_header("ETag", f'"{etag}"')
        request.end_headers()
        if body:
            request.wfile.write(content)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub of this test, in this process and in those it starts."""
    from huggingface_hub import constants

    hub = Hub()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    hub.repositories["someone/base"] = {
        "config.json": b'{"architectures": ["ColQwen2"]}',
        "model.safetensors": b"base",
        "pytorch_model.bin": b"pickle",
    }
    hub.repositories["someone/adapter"] = {
        "adapter_config.json": b'{"base_model_name_or_path": "someone/base", "r": 8}',
        "adapter_model.safetensors": b"adapter",
        "tokenizer.json": b"{}",
        "training_args.bin": b"pickle",
        "modeling_x.py": b"code",
        "onnx/model.onnx": b"onnx",
        "checkpoint-50/adapter_model.safetensors": b"older",
        "1_Dense/config.json": b"{}",
    }
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


def files_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_entry_comes_with_its_base_and_its_facts(hub, tmp_path):
    entry = {"source": "someone/adapter", "revision": "", "family": "colqwen", "modality": "image", "dim": 128}
    entry |= {"license": "gemma", "size_gb": 1, "options": {"max_patches": 5}, "languages": ["en"]}
    (tmp_path / "private.yaml").write_text(yaml.safe_dump({"mine": entry}))
    environment = {**os.environ, "VISRET_MODELS": str(tmp_path / "private.yaml")}
    command = [sys.executable, "-m", "visret", "models", "fetch", "mine", "--to", str(tmp_path / "a folder")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "a folder"
    assert done.stdout == f"{folder}: use it with --model '{folder}'\n"
    adapter = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "1_Dense/config.json"}
    assert files_in(folder) == {*adapter, "visret.yaml", "base/config.json", "base/model.safetensors"}
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"
    moved = folder.rename(tmp_path / "elsewhere")
    spec = registry.resolve(moved)
    assert (spec.name, spec.source, spec.license, spec.languages) == (str(moved), str(moved), "gemma", ("en",))
    assert (spec.dim, spec.options) == (128, {"max_patches": 5})
    assert weights.base_folder(moved) == moved / "base"


def test_what_models_yaml_does_not_know_is_told_by_its_configuration(hub, tmp_path):
    spec = registry.resolve(fetch("someone/base", tmp_path / "new"))
    assert (spec.family, spec.architecture) == ("colqwen", "ColQwen2")
    assert yaml.safe_load((tmp_path / "new" / "visret.yaml").read_text())["someone/base"]["revision"] == COMMIT
    hub.repositories["someone/other"] = {"config.json": b'{"architectures": ["X"]}', "model.safetensors": b"x"}
    with pytest.raises(UnknownModel, match=r"architectures \['X'\]"):
        fetch("someone/other", tmp_path / "other")


def test_an_interrupted_fetch_goes_on(hub, tmp_path):
    folder = tmp_path / "new"
    hub.broken = {"model.safetensors"}
    with pytest.raises(WeightsError, match="someone/base could not be fetched"):
        fetch("someone/adapter", folder)
    hub.broken = set()
    assert hub.asked.count("someone/adapter/adapter_model.safetensors") == 1
    spec = registry.resolve(fetch("someone/adapter", folder))
    assert spec.family == "colqwen"
    assert hub.asked.count("someone/adapter/adapter_model.safetensors") == 1
    assert not (folder / ".cache").exists()
    assert (folder / "base" / "model.safetensors").read_bytes() == b"base"


def test_a_hub_that_does_not_answer_leaves_nothing_that_looks_complete(hub, tmp_path):
    hub.broken = {"model.safetensors"}
    with pytest.raises(WeightsError):
        fetch("someone/base", tmp_path / "new")
    hub.server.shutdown()
    hub.server.server_close()
    with pytest.raises(WeightsError, match=r"someone/base could not be fetched .*refused"):
        fetch("someone/base", tmp_path / "new")


def test_what_cannot_be_fetched_is_said(hub, tmp_path, monkeypatch):
    hub.repositories["someone/pickles"] = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for model, folder, says in (
        ("someone/pickles", "new", "no safetensors"),
        ("someone/base", "full", "full already holds something"),
        ("someone/base", "new", "new already holds something"),  # of the first row
        ("someone/base", "full/mine.txt", "mine.txt already holds something"),
        ("someone/nothing", "new2", "someone/nothing could not be fetched"),
        ("all-minilm-l6-v2", "new2", "comes with a package: there is nothing to fetch"),
        ("toy", "new2", "toy has no weights"),
        ("jina-colbert-v2", "new2", "only code in its repository can run it"),
    ):
        with pytest.raises(WeightsError, match=says):
            fetch(model, tmp_path / folder)
    with pytest.raises(UnknownModel, match="did you mean lateon"):
        fetch("lateonn", tmp_path / "new2")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        fetch("someone/base", tmp_path / "new2")


ADAPTER = ModelSpec("mine", "colqwen", "someone/adapter", "", "image", 128, "mit", 1.0)


def test_a_model_that_is_loaded_is_fetched_into_the_cache_without_pickles_or_code(hub, tmp_path):
    folder = weights_folder(ADAPTER)
    assert folder == tmp_path / "home" / "hub" / "models--someone--adapter" / "snapshots" / COMMIT
    assert files_in(folder) == {
        "adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "1_Dense/config.json"
    }  # fmt: skip
    base = base_folder(ADAPTER, folder)
    assert files_in(base) == {"config.json", "model.safetensors"}
    asked = list(hub.asked)
    assert weights_folder(ADAPTER) == folder
    assert base_folder(ADAPTER, folder) == base
    assert hub.asked == asked  # what is here is not asked for


def test_a_model_without_safetensors_is_not_loaded(hub):
    hub.repositories["someone/pickles"] = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    with pytest.raises(WeightsError, match=r"someone/pickles has no safetensors, and visret reads no other weights"):
        weights_folder(dataclasses.replace(ADAPTER, source="someone/pickles"))
    assert hub.asked == ["someone/pickles/config.json"]
