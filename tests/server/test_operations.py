"""A server for those who operate it: probes, figures, logs, and the files that run it as a service."""

import json
import logging
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient
from PIL import Image

from visret import Page, Retriever, cli
from visret.server import app, records
from visret.server.guard import Rules

ROOT = Path(__file__).parents[2]
KEY = "sixteen-letters-and-more"
BEARER = {"Authorization": f"Bearer {KEY}"}
SECRET = "what-is-my-diagnosis"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operations") / "i.visret"
    with Retriever.create(folder, model="none") as made:
        for name in ("red", "blue"):
            word = (name, (0.1, 0.1, 0.5, 0.2))
            made.add_pages([Page.from_image(Image.new("RGB", (40, 40), name), doc=f"{name}-paper", words=[word])])
    return folder


@pytest.fixture(scope="module")
def client(index):
    built = app.build(index, Rules(KEY, hosts=["localhost"], rate=0), ui=False)
    with TestClient(built, base_url="http://localhost") as made:
        made.app_state = built
        yield made


@pytest.fixture
def logged():
    """The lines that `configure` makes, as text."""
    root, visret = logging.getLogger(), logging.getLogger("visret")
    before = root.handlers, visret.level

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))

    lines = []
    root.handlers = [Lines()]
    yield lines
    root.handlers, visret.level = before
    records.configure()


# ---- probes


def test_probes_need_no_key_and_no_name_and_say_the_status_alone(client):
    for path, status in (("/health", "ok"), ("/ready", "ready")):
        for headers in ({}, {"Host": "10.0.0.7:7860"}, {"Host": "10.0.0.7:7860", **BEARER}):
            answer = client.get(path, headers=headers)
            assert (answer.status_code, answer.json()) == (200, {"status": status}), headers
        assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.post(path, headers={"Host": "10.0.0.7"}).status_code == 421
    assert client.get("/documents", headers={"Host": "10.0.0.7", **BEARER}).status_code == 421


def test_a_server_is_ready_once_its_model_is_loaded(index, monkeypatch):
    go = threading.Event()
    loads = Retriever.encoder.fget
    monkeypatch.setattr(Retriever, "encoder", property(lambda self: go.wait(60) and loads(self)))
    with TestClient(app.build(index, Rules(rate=0), ui=False), base_url="http://localhost") as made:
        answer = made.get("/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "loading"})
        assert made.get("/health").status_code == 200
        go.set()
        for _ in range(1000):
            if (answer := made.get("/ready")).status_code == 200:
                break
        assert answer.json() == {"status": "ready"}


def test_a_model_that_cannot_be_loaded_is_never_ready(index, monkeypatch):
    monkeypatch.setattr(Retriever, "encoder", property(lambda self: 1 / 0))
    with TestClient(app.build(index, Rules(rate=0), ui=False), base_url="http://localhost") as made:
        assert made.get("/ready").status_code == 503


# ---- figures


def figures(client):
    from prometheus_client.parser import text_string_to_metric_families

    text = client.get("/metrics", headers=BEARER).text
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return text, {(one.name, *sorted(one.labels.values())): one.value for one in samples}


def test_what_is_asked_is_counted_and_named_by_no_label(client):
    pytest.importorskip("prometheus_client", reason="needs prometheus-client: pip install 'visret[metrics]'")
    assert client.get("/metrics").status_code == 401
    _, before = figures(client)
    for _ in range(3):
        assert client.post("/search", json={"question": f"red {SECRET}"}, headers=BEARER).status_code == 200
    client.get(f"/page/red-paper/1.png?key={KEY}&q={SECRET}", headers=BEARER)
    client.get(f"/{SECRET}/red-paper", headers=BEARER)
    client.request(SECRET.upper(), "/documents", headers=BEARER)
    client.get("/documents")
    text, after = figures(client)

    def more(*name):
        return after.get(name, 0) - before.get(name, 0)

    assert more("visret_questions_total") == 3
    assert more("visret_requests_total", "/search", "200", "POST") == 3
    for stage in ("wait", "rank", "explain"):
        assert more("visret_question_seconds_count", stage) == 3
    assert more("visret_request_seconds_count", "/page") == 1
    assert more("visret_request_seconds_count", "other") == 1
    assert more("visret_refused_total", "401") == 1
    assert (after["visret_pages",], after["visret_documents",], after["visret_queue",]) == (2, 2, 0)
    assert 0 <= after["visret_index_age_seconds",] < 3600
    for word in (SECRET, SECRET.upper(), "paper", KEY):
        assert word not in text


def test_without_the_package_the_way_to_it_is_said(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "visret.server.metrics", raising=False)
    with TestClient(app.build(index, Rules(rate=0), ui=False), base_url="http://localhost") as made:
        answer = made.get("/metrics")
        assert (answer.status_code, "visret[metrics]" in answer.json()["detail"]) == (501, True)


# ---- logs


def ask_everything(client):
    client.post("/search", json={"question": f"red {SECRET}"}, headers=BEARER)
    client.post("/search", json={"question": SECRET, "by": SECRET}, headers=BEARER)
    client.post("/like", json={"text": SECRET}, headers=BEARER)
    client.get(f"/highlight/red-paper/1.png?q={SECRET}", headers=BEARER)
    client.get(f"/documents?key={KEY}&q={SECRET}")
    client.get("/documents", headers={"Authorization": f"Bearer {KEY}x"})
    client.get("/documents", headers={"Cookie": f"visret_key={KEY}"})
    client.cookies.clear()


@pytest.mark.parametrize("as_json", [False, True])
def test_no_log_has_a_question_or_a_key_unless_asked(client, logged, as_json):
    records.configure(level="debug", as_json=as_json)
    ask_everything(client)
    assert sum("POST /search" in line for line in logged) == 2
    assert "GET /highlight/red-paper/1.png 200" in "\n".join(logged)
    for line in logged:
        assert SECRET not in line
        assert KEY not in line
        assert not as_json or json.loads(line)["level"] in ("debug", "info", "warning")
    logged.clear()
    records.configure(level="warning", with_questions=True)
    ask_everything(client)
    assert any(SECRET in line for line in logged)
    assert not any(KEY in line for line in logged)


def test_a_line_of_json_has_the_parts_of_a_request(client, logged):
    records.configure(level="info", as_json=True)
    client.get("/page/a%0Ab/1.png?dpi=20", headers=BEARER)
    line = json.loads(logged[-1])
    assert {name: line[name] for name in ("level", "logger", "method", "path", "status")} == {
        "level": "info",
        "logger": "visret.access",
        "method": "GET",
        "path": "/page/a%0Ab/1.png",
        "status": 404,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    logging.getLogger("visret").error("it failed", exc_info=ValueError("so"))
    assert json.loads(logged[-1])["exception"] == "ValueError: so"


def test_nothing_is_logged_by_default(client, logged):
    records.configure()
    ask_everything(client)
    assert logged == []


# ---- the files that run it


def options_are_known(command):
    """It exits if visret does not take this command line."""
    cli._parser().parse_args(command)


def test_the_container_is_what_it_says():
    """No image is built here: that needs a daemon. Its lines are read, and its commands are parsed by visret."""
    text = (ROOT / "Dockerfile").read_text("utf8").replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    words = [word for word, _ in lines]
    known = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"}
    assert set(words) <= {*known, "ENTRYPOINT", "CMD"}
    last = dict(lines)
    assert last["USER"] == "10001:10001"
    assert words.index("USER", words.index("VOLUME") - 1) < words.index("ENTRYPOINT")
    assert json.loads(last["ENTRYPOINT"]) == ["visret"]
    options_are_known(json.loads(last["CMD"]))
    extras = {line.split()[1] for line in re.findall(r"ARG EXTRAS=\S+", text)}
    assert extras == {"EXTRAS=mcp,metrics,ocr,watch"}
    probe = re.search(r"HEALTHCHECK .*? CMD (\[.*?\])\n", text)[1]
    compile(json.loads(probe)[2], "probe", "exec")
    for source in re.findall(r"^COPY (?!--from)(.+)", text, re.MULTILINE):
        for name in source.split()[:-1]:
            assert (ROOT / name).exists(), name
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf8").splitlines() if line.startswith("!")}
    assert kept == {"visret", "models.yaml", "pyproject.toml", "README.md", "LICENSE"}


def test_compose_runs_it_without_rights():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text("utf8"))["services"]
    assert set(services) == {"serve", "watch"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "10001:10001"
        assert [place.partition(":")[0] for place in service["tmpfs"]] == ["/tmp"]
        assert all(volume.endswith(":ro") for volume in service["volumes"] if "/documents" in volume)
        options_are_known(service["command"])
    assert services["serve"]["ports"] == ["127.0.0.1:7860:7860"]  # a proxy with TLS comes before others


@pytest.mark.parametrize("name", ["visret", "visret-watch"])
def test_the_units_are_what_systemd_takes(name, tmp_path):
    unit = ROOT / "docs" / "deploy" / f"{name}.service"
    (command,) = re.findall(r"^ExecStart=\S+ (.*)", unit.read_text("utf8"), re.MULTILINE)
    options_are_known(command.replace("${CREDENTIALS_DIRECTORY}", "/run").split())
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed, so the unit's other lines are not checked")
    there = tmp_path / unit.name
    there.write_text(unit.read_text("utf8").replace("/opt/visret/bin/visret", shutil.which("true")))
    done = subprocess.run(["systemd-analyze", "verify", str(there)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
