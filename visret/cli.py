"""The command `visret`.

Results go to stdout, progress and warnings to stderr. Exit status: 0 done, 1 something failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import json
import logging
import os
import shlex
import shutil
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from difflib import get_close_matches
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visret import __version__
from visret.choices import BM25, CODECS, DEFAULT_MODEL, DEPTH, LATE, LOG_LEVELS, OCR_MODES, QUALITY_MODEL, WAYS
from visret.errors import IndexLocked, InvalidArgument, ModelMismatch, NoPicture, PageIndexError, VisretError
from visret.folders import unwritable
from visret.stores import FORMS, STORES

MAX_NAME = 48  # of a model in a table; a longer one is shown by its alias
KINDS_OF_LOSS = 3  # of a file that are printed
SNIPPET = 96  # characters of a passage under a hit
SILENT = 1.5  # seconds before a run shows its first figure
PICTURE_NAME = 200  # bytes of a document's name in the name of its picture; file systems take 255 in all
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has no quota of its own
_ALTERNATIVE = (
    f"--model {QUALITY_MODEL} finds more of the right pages, but takes more time and room: see docs/models.md"
)

_CODECS = "; ".join(f"{name}: {kept}" for name, kept in CODECS.items())

if TYPE_CHECKING:
    from visret.evaluate import System
    from visret.explain.attribution import Explanation
    from visret.ingest.report import EmptyPage, Failure, Lost, Metadata, Progress, Report
    from visret.retriever import Retriever
    from visret.search.plans import Plan
    from visret.server.guard import Rules
    from visret.server.llm import LanguageModel
    from visret.stores._export import Exported
    from visret.stores._files import Written
    from visret.types import Executor, Hit, ModelSpec, Page, PageRef, Ranked


def main(argv: Sequence[str] | None = None, *, parser: argparse.ArgumentParser | None = None) -> int:
    """Run one command and return the exit status. parser: the parser of a script with one verb, made by `script`."""
    _open_streams()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        try:
            return _run(parser or _parser(), argv)
        finally:  # here and not when Python ends, where nobody could report what is wrong
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of stdout went away, as `head` does
        _drop_unwritten()
        return 1
    except OSError as error:
        if error.errno not in FULL:
            raise
        _drop_unwritten()
        _say(f"visret: the disk is full: {error}")
        return 1


def script(
    run: Callable[[argparse.Namespace], int], arguments: Sequence[Argument], *, about: str | None
) -> argparse.ArgumentParser:
    """Return the parser of a script that does one thing, `run`. about: the text of its help, line by line."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_arguments(parser, run, arguments)
    return parser


def _run(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    arguments = argparse.Namespace(run=None)
    try:
        _suggest(parser, sys.argv[1:] if argv is None else argv)
        arguments = parser.parse_args(argv)
        return int(arguments.run(arguments))
    except VisretError as error:
        _say(f"visret: {error}")
        return 2 if isinstance(error, InvalidArgument) else 1
    except KeyboardInterrupt:
        again = "; run the same command again to go on" if arguments.run in RESUMED else ""
        print(f"\nvisret: stopped{again}", file=sys.stderr)
        return 130


def _open_streams() -> None:
    """Make stdout and stderr writable, whatever the caller has done to them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the caller closed it; print would write to stdout what is for stderr
            setattr(sys, name, open(os.devnull, "w", encoding="utf8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal that cannot show a letter gets a mark in its place
        sys.stdout.reconfigure(errors="replace")


def _drop_unwritten() -> None:
    """Forget what cannot be written. Otherwise Python would try again when it ends, and complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# ---- the verbs ----------------------------------------------------------------------------------------------------


def find(arguments: argparse.Namespace) -> int:
    """Search files and folders right away; what was read is remembered for the next time."""
    from visret.cache import open_cached

    names = {"include": arguments.include, "exclude": arguments.exclude}
    _check_pictures(arguments.pictures)
    with open_cached(arguments.paths, model=arguments.model or DEFAULT_MODEL, **names) as retriever:
        failed: Sequence[Failure] = ()
        empty: Sequence[EmptyPage] = ()
        stopped = False
        read = 0
        try:
            report = _add(retriever, arguments, sync=True)
            failed, empty, read = report.failed, report.empty, report.pages
        except IndexLocked:
            _say("another visret is reading these files; answering from what it has read so far")
        except KeyboardInterrupt:
            stopped = True
            _say("stopped; answering from what has been read so far")
        (found,) = retriever.explained([arguments.question], k=arguments.k)
        missing = _show(retriever, arguments, found, failed, empty)
        unsure = bool(found) and all(hit.weak for hit, _ in found)
        if retriever.model == DEFAULT_MODEL and (read or unsure):
            _say(_ALTERNATIVE)
    return 130 if stopped else int(bool(failed or missing))


def index(arguments: argparse.Namespace) -> int:
    """Bring files and folders into an index; run it again to bring in what is new or has changed."""
    if arguments.estimate:
        if arguments.ray is not None:
            raise InvalidArgument("--estimate measures this machine: leave out --ray")
        return _estimate(arguments)
    executor = None
    if arguments.ray is not None:
        from visret.ingest.on_ray import OnRay

        executor = OnRay(arguments.ray)
    with _open_or_create(arguments) as retriever:
        metadata, lost = _metadata(retriever, arguments)
        more = {"sync": arguments.sync, "retry_failed": arguments.retry_failed, "executor": executor}
        report = _add(retriever, arguments, metadata, lost, **more)
    if arguments.json:
        _print_json(asdict(report))
    else:
        print(_summary(report, arguments.index))
    return 1 if report.failed else 0


def watch(arguments: argparse.Namespace) -> int:
    """Keep an index in step with files and folders: what is new, changed or gone there is brought in or removed."""
    import signal
    from contextlib import closing

    from visret.ingest.options import ReadOptions
    from visret.retriever import follow

    # A service manager sends SIGTERM. Ctrl-C waits for what is being written, and so must that, even if the shell that
    # started this in the background has it ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    common = None if arguments.metadata is None else _object("--metadata", arguments.metadata, '{"year": 2024}')
    with _open_or_create(arguments) as retriever:
        reports = follow(
            retriever,
            arguments.paths,
            ReadOptions(arguments.password, arguments.ocr, page_seconds=arguments.page_seconds),
            metadata=common,
            include=arguments.include,
            exclude=arguments.exclude,
            rest=arguments.settle,
            poll=arguments.poll,
        )
        with closing(reports):
            for report in reports:
                _complain(report, retriever, arguments.ocr)
                if arguments.json:
                    _print_json(asdict(report))
                elif report.documents or report.removed:
                    print(_summary(report, arguments.index))
                sys.stdout.flush()
    return 0


def search(arguments: argparse.Namespace) -> int:
    """Rank the pages of an index for a question, or by how like another page they are."""
    where = _where(arguments.where)
    _check_asked(arguments)
    _check_pictures(arguments.pictures)
    by = _way(arguments.by, arguments)
    with _opened(arguments.index, arguments) as retriever:
        if arguments.like is not None:
            return _search_like(retriever, arguments, where)
        (found,) = retriever.explained(
            [arguments.question],
            k=arguments.k,
            where=where,
            exact=arguments.exact,
            by=by,
            offset=arguments.offset,
            group_by=arguments.group_by,
            neighbours=arguments.neighbours,
            weak=not arguments.no_weak,
            min_score=arguments.min_score,
            rerank=arguments.rerank,
            depth=arguments.depth,
            seconds=arguments.seconds,
        )
        failed, empty = retriever.unread()
        missing = _show(retriever, arguments, found, failed, empty)
    return int(bool(missing))


def _check_asked(arguments: argparse.Namespace) -> None:
    """Raise InvalidArgument unless there is a question or a page, and for options that nothing would heed."""
    if (arguments.question is None) == (arguments.like is None):
        raise InvalidArgument("search takes either a question, or --like DOC:PAGE for pages like another one")
    names = ("by", "no_weak", "min_score", "rerank", "seconds")
    if arguments.like is not None and (given := [name for name in names if vars(arguments)[name]]):
        raise InvalidArgument(f"--like compares pages by their vectors, and takes no --{given[0].replace('_', '-')}")


def _search_like(retriever: Retriever, arguments: argparse.Namespace, where: dict[str, Any] | None) -> int:
    """Print the pages that are most like another one, as `search` prints those for a question."""
    from visret.types import Ranked

    hits = retriever.search_like(
        _liked(retriever, arguments.like, arguments.password),
        arguments.k,
        where=where,
        exact=arguments.exact,
        offset=arguments.offset,
        group_by=arguments.group_by,
        neighbours=arguments.neighbours,
    )
    failed, empty = retriever.unread()
    return int(bool(_show(retriever, arguments, Ranked((hit, None) for hit in hits), failed, empty)))


def _liked(retriever: Retriever, given: str, password: str | None) -> PageRef | Page:
    """Return the page that --like names: DOC:PAGE or DOC of the index, or else a page of a file."""
    from visret.types import PageRef

    name, _, number = given.rpartition(":")
    named = [(given, 1)] + ([(name, int(number))] if name and number.isdecimal() and int(number) else [])
    documents = set(retriever.documents())
    for doc, page in reversed(named):
        if doc in documents:
            return PageRef(doc, page if doc == name else min(retriever.document(doc).pages, default=1))
    for path, page in named:
        if os.path.isfile(path):  # noqa: PTH113 - Path's raises where it may not look
            return _page_of(path, page, retriever.modality, password)
    raise InvalidArgument(f"--like: this index has no document {named[-1][0]!r}, and there is no such file")


def _page_of(path: str, number: int, modality: str, password: str | None) -> Page:
    """Read a page of a file for a model that reads "text" or looks at an "image"."""
    from visret import documents, ocr

    with documents.open_document(path, password=password) as document:
        if number > len(document):
            raise InvalidArgument(f"--like: {path} has {_count(len(document), 'page')}, and no page {number}")
        page = document.page(number, doc=Path(path).name)
    return ocr.with_words(page, ocr.usable_mode("auto", modality))


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure how well indexes answer questions whose right pages you know, and which differences may be noise."""
    from visret.evaluate import compare, page, read, write_run

    questions = read(arguments.questions, topics=arguments.topics)
    with ExitStack() as opened:
        systems = _systems(arguments, opened)
        found = compare(
            systems,
            questions,
            k=arguments.k,
            measures=arguments.measure,
            unit=arguments.unit,
            against=arguments.against,
        )
        for one in found.systems if arguments.save_runs else ():
            write_run(Path(arguments.save_runs) / f"{_file_name(one.name)}.run", one.rankings)
        if arguments.page:
            page.write(arguments.page, found)
    if arguments.json:
        _print_json(found.as_json())
    else:
        print("\n".join(map(_printable, str(found).splitlines())))
    return 0


def heatmap(arguments: argparse.Namespace) -> int:
    """Draw a page with the places that answer a question marked in colour."""
    from visret.types import PageRef

    out = Path(arguments.out)
    if os.path.isdir(out):  # noqa: PTH112 - Path's raises in folders that may not be read
        raise InvalidArgument(f"--out takes the name of a picture to write, but {out} is a folder")
    _check_folder(out.parent)
    with _opened(arguments.index, arguments) as retriever:
        ref = PageRef(arguments.doc, arguments.page)
        why = retriever.heatmap(arguments.question, ref, index=arguments.of_index)
        chosen = _positions(arguments.token, why.tokens) if arguments.token else None
        _save(why.image(chosen, mode=arguments.mode, legend=True), out)
    print(arguments.out)
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Show what an index holds."""
    from visret.retriever import Retriever

    with Retriever.open(arguments.index) as retriever:
        facts = retriever.info()
    if arguments.json:
        _print_json(facts)
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            shown = f"{value:,}" if isinstance(value, int) else value
            lines = value or ["nothing"] if isinstance(value, list) else [shown]
            for line in lines:
                print(f"{name.replace('_', ' '):{width}}  {line}")
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Read every byte of an index and report what is damaged."""
    from visret.index import damage

    problems = damage.verify(arguments.index)
    for problem in problems:
        print(_printable(problem))
    if not problems:
        print(f"{arguments.index}: every checksum is right")
    elif arguments.repair:
        for lost in damage.repair(arguments.index):
            print(_printable(lost))
        print(f"{arguments.index}: what was damaged has been dropped; visret index reads its documents again")
    else:
        print(f"visret verify {arguments.index} --repair drops what is damaged")
    return 1 if problems and not arguments.repair else 0


def remove(arguments: argparse.Namespace) -> int:
    """Remove documents from an index."""
    from visret.retriever import Retriever

    with Retriever.open(arguments.index) as retriever:
        retriever.remove(arguments.docs)
    print(f"removed {_count(len(set(arguments.docs)), 'document')}")
    return 0


def set_(arguments: argparse.Namespace) -> int:
    """Change metadata of a document without reading it again."""
    from visret.retriever import Retriever

    changes = _changes(arguments.changes)
    with Retriever.open(arguments.index) as retriever:
        metadata = retriever.set_metadata(arguments.doc, changes)
    if arguments.json:
        _print_json(metadata)
    else:
        print(f"{arguments.doc}: {json.dumps(metadata, ensure_ascii=False)}")
    return 0


set_.__name__ = "set"  # the name of the command; in this module `set` is Python's own


def compact(arguments: argparse.Namespace) -> int:
    """Make an index smaller: drop removed pages, merge small segments, or store vectors with a smaller codec."""
    from visret.retriever import Retriever

    with Retriever.open(arguments.index) as retriever:
        before = retriever.info()["bytes"]
        retriever.compact(codec=arguments.codec, dim=arguments.dim)
        after = retriever.info()["bytes"]
    print(f"{arguments.index}: {before:,} bytes before, {after:,} now")
    return 0


def reindex(arguments: argparse.Namespace) -> int:
    """Read all documents of an index again with another model, or store them in another way."""
    from visret.retriever import Retriever

    changes = {name: getattr(arguments, name) for name in ("model", *STORAGE)}
    with Retriever.open(arguments.index, password=arguments.password) as retriever:
        if not arguments.undo:
            reading = {name: getattr(arguments, name) for name in ("password", "ocr", "page_seconds")}
            report = _watch(retriever, partial(retriever.reindex, **changes, **reading), arguments.ocr)
            made = f"{arguments.index}: {_count(report.documents, 'document')} with {retriever.model}"
            if arguments.json:
                _print_json(asdict(report))
            else:
                print(f"{made}, {_pace(report)}")
            return 1 if report.failed else 0
        if any(value is not None for value in changes.values()):
            raise InvalidArgument("--undo goes back to the index as it was, and takes no model and no storage options")
        before = set(retriever.documents())
        retriever.undo_reindex()
        print(f"{arguments.index}: {retriever.model} again, {_count(len(retriever.documents()), 'document')}")
        if left := before - set(retriever.documents()):
            _say(f"{_count(len(left), 'document')} added since are gone: bring them in again with visret index")
    return 0


def add_model(arguments: argparse.Namespace) -> int:
    """Add a second model to an index, one of single vectors or of learned sparse ones, for --by dense and sparse."""
    from visret.retriever import Retriever

    start = time.monotonic()

    def progress(done: int, total: int) -> None:
        if time.monotonic() - start > SILENT:
            print(f"\r{done:,} of {total:,} pages", end="" if done < total else "\n", file=sys.stderr, flush=True)

    with Retriever.open(arguments.index, password=arguments.password) as retriever:
        filled = retriever.add_model(arguments.model, progress=progress)
    for failure in filled.failed:
        _say(f"failed: {failure.path}, page {failure.page}: {failure.reason}")
    if arguments.json:
        _print_json(asdict(filled))
    else:
        empty = f"; {_count(filled.empty, 'page')} with nothing that it reads" if filled.empty else ""
        print(f"{_count(filled.pages, 'page')} by {filled.model}{empty}: visret search --by {filled.kind}")
    return int(bool(filled.failed))


add_model.__name__ = "add-model"


def remove_model(arguments: argparse.Namespace) -> int:
    """Remove a model that was added to an index, with its vectors."""
    from visret.retriever import Retriever

    with Retriever.open(arguments.index) as retriever:
        retriever.remove_model(arguments.model)
    print(f"removed {arguments.model}")
    return 0


remove_model.__name__ = "remove-model"


def export(arguments: argparse.Namespace) -> int:
    """Write the pages of an index into a store, where `visret search` finds them too, or as files for an engine."""
    from visret import stores

    if arguments.to and arguments.keep:
        raise InvalidArgument("--keep is for stores; --to writes into a new folder")
    shown = time.monotonic()

    def show(done: int, pages: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= 5:
            shown = time.monotonic()
            print(f"{done:,} of {pages:,} pages", file=sys.stderr)

    made: Exported | Written
    if arguments.to:
        made = stores.write(arguments.index, arguments.url, arguments.to, progress=show)
        told = f" for {arguments.to}; docs/stores.md says how they are loaded"
        if made.unfiltered:
            _say(f"visret: no field of its own, so no filter in {arguments.to}: metadata {', '.join(made.unfiltered)}")
    else:
        made = stores.export(arguments.index, arguments.url, keep=arguments.keep, progress=show)
        told = f", {made.kept:,} were there already, {made.deleted:,} deleted"
    if made.left_out:
        _say(f"visret: not exported, the vectors of the added model {', '.join(made.left_out)}")
    if arguments.json:
        _print_json(made._asdict())
    else:
        print(f"{arguments.url}: {_count(made.written, 'page')} written{told}")
    return 0


def publish(arguments: argparse.Namespace) -> int:
    """Publish an image of an index on object storage, from which other machines fetch it to search it."""
    from visret import stores

    shown = time.monotonic()

    def show(done: int, size: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= 5:
            shown = time.monotonic()
            print(f"{done / 1e6:,.0f} of {size / 1e6:,.0f} MB", file=sys.stderr)

    made = stores.publish(arguments.index, arguments.url, progress=show)
    if arguments.json:
        _print_json(made._asdict())
    else:
        sent = f"{made.sent:,} were sent ({made.bytes_sent / 1e6:,.1f} MB)"
        print(f"{arguments.url}: {_count(made.files, 'file')}, of which {sent}")
    return 0


def train(arguments: argparse.Namespace) -> int:
    """Fine-tune the model of an index on the index's own pages; --model FOLDER takes the result."""
    from visret.retriever import Retriever
    from visret.training import tuning
    from visret.training.settings import Settings

    names = ("steps", "batch", "negatives", "rank", "rate", "pairs", "seed", "teacher", "written")
    settings = Settings(**{name: given for name in names if (given := getattr(arguments, name)) is not None})
    model = _language_model(arguments)
    with Retriever.open(arguments.index) as retriever:
        trained = tuning.train(retriever, arguments.folder, settings, model=model, progress=_say)
    if arguments.json:
        _print_json(asdict(trained))
        return 0
    scores = dict(trained.curve)
    print(
        f"{arguments.folder}: {trained.base} after {_count(trained.kept, 'step')}; on "
        f"{_count(trained.held_out, 'question')} that it did not learn from, nDCG@10 {scores[0]:.3f} before, "
        f"{scores[trained.kept]:.3f} now"
    )
    return 0


def models(arguments: argparse.Namespace) -> int:
    """List the models with their licences, and say whether their weights are on this machine."""
    from visret.models import registry, weights

    listed = [(spec, weights.location(spec)) for spec in registry.specs()]
    if arguments.json:
        rows = [
            {**asdict(spec), "here": location.here, "path": str(location.path) if location.path else None}
            for spec, location in listed
        ]
        _print_json(rows)
        return 0
    kinds = {"rerank": "reranks", "embed": "single vectors", "sparse": "sparse vectors"}
    tables: dict[str, list[tuple[str, ...]]] = {kind: [] for kind in ("reads words", "looks at pages", *kinds.values())}
    for spec, location in listed:
        kind = kinds.get(spec.task, "reads words" if spec.modality == "text" else "looks at pages")
        called = spec.aliases[0] if len(spec.name) > MAX_NAME and spec.aliases else spec.name
        name = called + " (default)" * (spec.name == DEFAULT_MODEL)
        licence = spec.license + " *" * registry.non_commercial(spec)
        here = ("yes" if location.here else "no") + " +" * spec.remote_code
        dim = f"{spec.dim // 1000}k" if spec.dim > 9999 else str(spec.dim)
        what = dim if spec.task != "rerank" else "text" if spec.modality == "text" else "page"
        tables[kind].append((name, what, _size(spec), licence, here, _about(spec)))
    head = ("size", "licence", "here", "for")
    second = {kind: "by" if kind == "reranks" else "dim" for kind in tables}
    _print_tables([[(kind, second[kind], *head), *rows] for kind, rows in tables.items()])
    print("\n* its licence forbids commercial use")
    print("+ only code in its repository can run it, and visret does not run such code")
    return 0


def fetch(arguments: argparse.Namespace) -> int:
    """Download a model into a folder with everything it needs, for a machine without a network."""
    from visret.models import registry
    from visret.models.fetch import fetch as fetch_model

    folder = fetch_model(arguments.model, arguments.to)
    task, named = registry.resolve(folder).task, shlex.quote(str(folder))
    how = {"encode": f"--model {named}", "rerank": f"--rerank {named}"}
    print(f"{folder}: use it with {how.get(task, f'visret add-model INDEX {named}')}")
    return 0


def cache(arguments: argparse.Namespace) -> int:
    """List or remove the indexes that `find` keeps."""
    from visret.cache import cached, clear

    if arguments.clear:
        count = clear()
        print(f"removed {count} cached index{'es' * (count != 1)}")
        return 0
    entries = cached()
    for entry in entries:
        print(f"{entry.bytes / 1e6:8,.1f} MB  {entry.model}  {'  '.join(entry.paths)}\n             {entry.folder}")
        if not entry.complete:
            print("             was stopped while it was made; visret cache --clear removes it")
    if not entries:
        print("nothing is cached")
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Report what this machine offers visret and what it lacks, and examine an index; a bug report needs this."""
    start = time.perf_counter()
    from visret.doctor import as_json, as_text, examine

    lines, torch_seconds = examine(arguments.index)
    seconds = time.perf_counter() - start
    told = (
        json.dumps(as_json(lines, seconds, torch_seconds)) if arguments.json else as_text(lines, seconds, torch_seconds)
    )
    print("\n".join(map(_printable, told.splitlines())))
    return int(any(line.failed for line in lines))


def serve(arguments: argparse.Namespace) -> int:
    """Serve an index in the browser, and to programs over HTTP and MCP."""
    from visret.server import app, records

    records.configure(level=arguments.log_level, as_json=arguments.log_json, with_questions=arguments.log_questions)
    rules = serving_rules(arguments)
    app.serve(
        arguments.index,
        rules,
        host=arguments.host,
        port=arguments.port,
        ui=not arguments.no_ui,
        most_pages=arguments.most_pages,
        no_key=arguments.no_key,
        rerank=arguments.rerank,
        question_model=arguments.question_model,
        fuse=_fused(arguments),
        workers=arguments.workers,
        llm=_language_model(arguments),
        originals=arguments.originals,
        announce=lambda address: print(f"visret: {address}", flush=True),
    )
    return 0


def _language_model(arguments: argparse.Namespace) -> LanguageModel | None:
    """Return the language model that the arguments name; None if they name none."""
    from visret.server import llm

    pictures = getattr(arguments, "llm_pictures", False)
    if arguments.llm:
        return llm.named(arguments.llm, arguments.llm_model, arguments.llm_format, pictures=pictures)
    if arguments.llm_model or pictures:
        raise InvalidArgument("--llm-model and --llm-pictures need --llm URL, the address of its API")
    return None


def serving_rules(arguments: argparse.Namespace) -> Rules:
    """Return the rules of who may connect under these arguments. Raises VisretError if they cannot be served."""
    from visret.server import app, keys
    from visret.server.guard import Rules

    key = app.read_key(arguments.api_key_file)
    named = keys.read(arguments.keys) if arguments.keys else ()
    rules = Rules(key, tuple(arguments.name), arguments.upload_mb << 20, arguments.rate, named)
    app.check_key(rules, host=arguments.host, no_key=arguments.no_key)
    return rules


def _systems(arguments: argparse.Namespace, opened: ExitStack) -> list[System]:
    """Return indexes and run files as systems, called by the ends of their paths, as much as tells them apart.

    Each index is a system for each way in which it ranks, and again with each reranker.
    """
    from visret.evaluate import read_run, system_of
    from visret.rerankers import load_reranker
    from visret.search.rerank import check_limits

    given = arguments.systems
    check_limits(arguments.rerank or None, arguments.depth, arguments.seconds)
    names = [Path(path).stem for path in given]
    if len(set(names)) < len(names):
        names = list(given)
    rerankers = {name: load_reranker(name) for name in dict.fromkeys(arguments.rerank)}
    ways = list(dict.fromkeys(arguments.by or [None]))
    systems = []
    for path, name in zip(given, names, strict=True):
        if os.path.isfile(path):  # noqa: PTH113 - Path's raises where it may not look
            systems.append(read_run(path, name))
            continue
        retriever = opened.enter_context(_opened(path, arguments))
        for by, reranker in itertools.product(ways, (None, *rerankers)):
            how = "+".join([by or LATE] * (len(ways) > 1 or reranker is not None) + [reranker] * (reranker is not None))
            limits = {} if reranker is None else {"depth": arguments.depth, "seconds": arguments.seconds}
            label = f"{name} ({how})" if how else name
            again = None if reranker is None else rerankers[reranker]
            systems.append(system_of(retriever, label, by=_way(by, arguments), rerank=again, **limits))
    return systems


def _opened(index: str, arguments: argparse.Namespace) -> Retriever:
    """Open an index to search it, fused with the others that --fuse names."""
    from visret.retriever import Retriever

    fused = _fused(arguments)
    password = arguments.password
    retriever = Retriever.open(index, question_model=arguments.question_model, password=password)
    if not fused:
        return retriever
    return retriever.fused_with(**{name: Retriever.open(path, password=password) for name, path in fused.items()})


def _fused(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the folders of the indexes that --fuse names, by their names."""
    found: dict[str, str] = {}
    for given in arguments.fuse:
        name, equal, path = given.partition("=")
        if not name or not equal or not path or name in found:
            raise InvalidArgument(f"--fuse takes a new name and a folder: pictures=pictures.visret, got {given!r}")
        found[name] = path
    return found


def _way(text: str | None, arguments: argparse.Namespace) -> str | Plan | None:
    """Return a way of ranking as --by has it: a name, that of a fused index, or a plan as JSON."""
    from visret.search import plans

    names = (*WAYS, *_fused(arguments))
    if text is None or text in names:
        return text
    example = '{"weights": {"late": 0.7, "bm25": 0.3}}'
    if not text.lstrip().startswith("{"):
        raise InvalidArgument(f"--by takes one of {', '.join(names)}, or a plan such as {example}, got {text!r}")
    return plans.of(_object("--by", text, example))


def _positions(names: Sequence[str], tokens: Sequence[str]) -> list[int]:
    """Return the positions of these tokens in a question. Raises InvalidArgument for a token that is not there."""
    folded = [token.casefold().strip() for token in tokens]
    for name in names:
        if name.casefold().strip() not in folded:
            raise InvalidArgument(f"--token: the tokens of this question are {' | '.join(tokens)}, got {name}")
    wanted = {name.casefold().strip() for name in names}
    return [position for position, token in enumerate(folded) if token in wanted]


# ---- their arguments ----------------------------------------------------------------------------------------------


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _count_from_0(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def _port(text: str) -> int:
    value = _positive(text)
    if value > 65535:
        raise argparse.ArgumentTypeError("must be at most 65535")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError("must be at least 0 and below 1")
    return value


def _path(text: str) -> str:
    if not text:  # an unset variable; it would otherwise mean the current folder
        raise argparse.ArgumentTypeError("is empty")
    return text


Argument = tuple[tuple[str, ...], dict[str, Any]]

QUESTION: Argument = ("question",), {"metavar": "QUESTION", "help": "what to look for, in words"}
QUESTION_OR_PAGE: Argument = (
    ("question",),
    {"metavar": "QUESTION", "nargs": "?", "help": "what to look for, in words; or give --like"},
)
LIKE: Argument = (
    ("--like",),
    {
        "metavar": "DOC:PAGE",
        "type": _path,
        "help": "find the pages that are most like this page of the index; a file, or FILE:PAGE, is read instead",
    },
)
PATHS: Argument = (
    ("paths",),
    {
        "metavar": "PATH",
        "nargs": "+",
        "type": _path,
        "help": "PDFs, images, text, office files, or folders of them, also on object storage: s3://BUCKET/FOLDER",
    },
)
INDEX: Argument = ("index",), {"metavar": "INDEX", "help": "the folder of an index"}
URL: Argument = (
    ("url",),
    {
        "metavar": "URL",
        "help": f"the store: {', '.join(store.form for store in STORES.values())}; with --to, a new folder",
    },
)
ENGINE: Argument = (
    ("--to",),
    {"choices": FORMS, "help": "write the files that this engine loads by itself: its schema, and the pages"},
)
IMAGE_URL: Argument = (
    ("url",),
    {"metavar": "URL", "help": "where the image lies: s3://BUCKET/NAME, gs://BUCKET/NAME, az://..., or file:///FOLDER"},
)
KEEP: Argument = (
    ("--keep",),
    {"action": "store_true", "help": "do not delete pages from the store that are not in this index"},
)
INDEX_TO_WRITE: Argument = (
    ("--index",),
    {"metavar": "DIR", "required": True, "help": "the folder of the index, which is made if it does not exist"},
)
INDEX_TO_SERVE: Argument = (
    ("index",),
    {"metavar": "INDEX", "nargs": "?", "help": "the folder of an index; without it, upload files in the browser"},
)
INDEX_TO_LOOK_AT: Argument = ("index",), {"metavar": "INDEX", "nargs": "?", "help": "the folder of an index"}
K: Argument = ("-k",), {"type": _positive, "default": 10, "help": "show at most this many pages (10)"}
OFFSET: Argument = (
    ("--offset",),
    {"metavar": "N", "type": _count_from_0, "default": 0, "help": "leave out the first N pages of the ranking"},
)
GROUP_BY: Argument = (
    ("--group-by",),
    {"choices": ("document",), "help": "find each document once, by its best page"},
)
NEIGHBOURS: Argument = (
    ("--neighbours",),
    {"metavar": "N", "type": _count_from_0, "default": 0, "help": "show N pages before and after each hit too"},
)
NO_WEAK: Argument = ("--no-weak",), {"action": "store_true", "help": "leave out pages that hardly answer"}
MIN_SCORE: Argument = (
    ("--min-score",),
    {
        "metavar": "N",
        "type": float,
        "help": "leave out pages with less relevance than this, from 0 to 1; .5 leaves out what hardly answers, in any "
        "index",
    },
)
RERANK: Argument = (
    ("--rerank",),
    {"metavar": "MODEL", "help": "read the first pages again with a reranker, and rank them by what it says"},
)
RERANK_DEPTH: Argument = (
    ("--depth",),
    {"metavar": "N", "type": _positive, "default": DEPTH, "help": f"how many pages a reranker reads ({DEPTH})"},
)
RERANK_SECONDS: Argument = (
    ("--seconds",),
    {"metavar": "N", "type": float, "help": "how long a reranker may take; pages that are left follow the others"},
)
JSON: Argument = ("--json",), {"action": "store_true", "help": "print JSON"}
PICTURES: Argument = (
    ("--pictures",),
    {"metavar": "DIR", "type": _path, "help": "draw each page into this folder, with the places that answer marked"},
)
NEW_MODEL: Argument = ("--model",), {"metavar": "NAME", "help": "the model to read with (the same as before)"}
UNDO: Argument = ("--undo",), {"action": "store_true", "help": "go back to the index before the last reindex"}
MODEL: Argument = (
    ("--model",),
    {
        "metavar": "NAME",
        "help": f"the model, one of `visret models` or your own (default {DEFAULT_MODEL}); with none, pages are found "
        "by their words alone",
    },
)
STORAGE: dict[str, Argument] = {
    "codec": (("--codec",), {"choices": CODECS, "help": f"how vectors are stored in a new index (int8): {_CODECS}"}),
    "dim": (
        ("--dim",),
        {"metavar": "N", "type": _positive, "help": "project the vectors of a new index to N dimensions"},
    ),
    "pool": (
        ("--pool",),
        {
            "metavar": "N",
            "type": _positive,
            "help": "merge similar vectors of a page, so that one in N is left (1 keeps all)",
        },
    ),
    "prune": (
        ("--prune",),
        {
            "metavar": "SHARE",
            "type": _share,
            "help": "leave out this share of a page's vectors, those that say least (0)",
        },
    ),
}
STORED_AGAIN: list[Argument] = [
    (flags, {**options, "help": help_})
    for (flags, options), help_ in zip(
        STORAGE.values(),
        (
            "how vectors are stored (the same as before)",
            "project vectors to N dimensions (the same as before; the model's own number ends the projection)",
            "merge similar vectors of a page, so that one in N is left (the same as before; 1 keeps all)",
            "leave out this share of a page's vectors, those that say least (the same as before; 0 keeps all)",
        ),
        strict=True,
    )
]
METADATA: list[Argument] = [
    (("--metadata",), {"metavar": "JSON", "help": "metadata for all these files, to filter by: '{\"year\": 2024}'"}),
    (
        ("--metadata-file",),
        {
            "metavar": "FILE",
            "type": _path,
            "help": "a table (CSV or JSONL) with the metadata of each file; its column or key 'path' names the file",
        },
    ),
]
ONE_DOC: Argument = ("doc",), {"metavar": "DOC", "help": "the name of a document"}
CHANGES: Argument = (
    ("changes",),
    {
        "metavar": "KEY=VALUE",
        "nargs": "+",
        "help": "a value is read as JSON, or else as text: year=2024, title=Report, 'zip=\"0815\"'; "
        "KEY=null deletes the key",
    },
)
SYNC: Argument = (
    ("--sync",),
    {"action": "store_true", "help": "remove documents whose files are gone from these folders"},
)
RAY: Argument = (
    ("--ray",),
    {
        "metavar": "ADDRESS",
        "help": "read and encode on a Ray cluster: HOST:PORT of its head node, or auto for that of this machine",
    },
)
RETRY: Argument = ("--retry-failed",), {"action": "store_true", "help": "try files again that failed before"}
PAGE_SECONDS: Argument = (
    ("--page-seconds",),
    {
        "metavar": "N",
        "type": _positive,
        "default": 60,
        "help": "give up on a page that takes more seconds to read than this (60)",
    },
)
SETTLE: Argument = (
    ("--settle",),
    {
        "metavar": "SECONDS",
        "type": _seconds,
        "default": 2.0,
        "help": "read or remove a file once it has stayed the same for this long (2)",
    },
)
POLL: Argument = (
    ("--poll",),
    {
        "metavar": "SECONDS",
        "type": _seconds,
        "help": "look at everything this often, instead of being told of changes; needed for folders of other machines",
    },
)
OCR: Argument = (
    ("--ocr",),
    {
        "choices": OCR_MODES,
        "default": "auto",
        "help": "read words from the pictures of pages: where their text is missing or unusable (auto), never, or "
        "always",
    },
)
FILES: list[Argument] = [
    (
        ("--include",),
        {
            "metavar": "GLOB",
            "action": "append",
            "default": [],
            "help": "read only files and folders whose name matches, such as '*.pdf'",
        },
    ),
    (
        ("--exclude",),
        {
            "metavar": "GLOB",
            "action": "append",
            "default": [],
            "help": "read no files or folders whose name matches, such as 'drafts'",
        },
    ),
    PAGE_SECONDS,
]
ESTIMATE: Argument = (
    ("--estimate",),
    {"action": "store_true", "help": "only estimate, from a sample, how much time and space indexing will take"},
)
PASSWORD: Argument = ("--password",), {"metavar": "TEXT", "help": "the password of encrypted PDFs"}
WHERE: Argument = (
    ("--where",),
    {"metavar": "JSON", "help": """find only pages with this metadata: '{"year": {">=": 2020, "<": 2024}}'"""},
)
BY: Argument = (
    ("--by",),
    {
        "metavar": "WAY",
        "help": f"the way of ranking ({LATE}, or {BM25} in an index without a model): {', '.join(WAYS)}, or a plan: "
        """'{"weights": {"late": 0.7, "bm25": 0.3}, "fusion": "rank"}'""",
    },
)
FUSE: Argument = (
    ("--fuse",),
    {
        "metavar": "NAME=INDEX",
        "action": "append",
        "default": [],
        "help": "search another index of the same documents too, and fuse the rankings; NAME stands for it in --by",
    },
)
OF_INDEX: Argument = (
    ("--of-index",),
    {"metavar": "NAME", "help": "show what this one of the fused indexes finds on the page (the first that has it)"},
)
QUESTION_MODEL: Argument = (
    ("--question-model",),
    {"metavar": "MODEL", "help": "encode questions with this model, which was made for pages of the index's own model"},
)
EXACT: Argument = ("--exact",), {"action": "store_true", "help": "score every page, however many there are"}
DOC: Argument = ("--doc",), {"metavar": "DOC", "required": True, "help": "the document, as hits name it"}
DOCS: Argument = ("docs",), {"metavar": "DOC", "nargs": "+", "help": "documents, as hits name them"}
PAGE: Argument = (
    ("--page",),
    {"metavar": "N", "type": _positive, "required": True, "help": "the number of the page, from 1"},
)
OUT: Argument = (
    ("--out",),
    {"metavar": "FILE.png", "required": True, "type": _path, "help": "where to write the picture"},
)
TOKEN: Argument = (
    ("--token",),
    {
        "metavar": "TEXT",
        "action": "append",
        "help": "show only this token of the question; for several tokens: --token A --token B",
    },
)
MODE: Argument = (
    ("--mode",),
    {
        "choices": ["passage", "attribution", "similarity"],
        "default": "passage",
        "help": "frame the passage that answers and mark the words that tell (passage), show where the score comes "
        "from, token by token (attribution), or how similar each place is to the question's tokens (similarity)",
    },
)
HOST: Argument = (
    ("--host",),
    {"default": "127.0.0.1", "help": "the address to listen on (127.0.0.1: only this machine can connect)"},
)
PORT: Argument = ("--port",), {"metavar": "N", "type": _port, "default": 7860, "help": "the port to listen on (7860)"}
LLM: list[Argument] = [
    (
        ("--llm",),
        {
            "metavar": "URL",
            "help": "the API of a language model that writes answers, or questions to train on, such as "
            "http://localhost:11434/v1; its key is VISRET_LLM_KEY",
        },
    ),
    (("--llm-model",), {"metavar": "NAME", "help": "the name of that model"}),
    (
        ("--llm-format",),
        {"metavar": "FORMAT", "help": "what it speaks: openai, anthropic or ollama (as its address says)"},
    ),
]
WRITTEN: Argument = (
    ("--written",),
    {"metavar": "N", "type": _positive, "help": "most questions that the language model is asked for (500)"},
)
SERVER: list[Argument] = [
    (
        ("--api-key-file",),
        {"metavar": "FILE", "help": "a file with the key that clients must send; or set VISRET_API_KEY"},
    ),
    (
        ("--keys",),
        {
            "metavar": "FILE",
            "type": _path,
            "help": "a file (TOML or JSON) with several keys, their rights and the filters that bind them",
        },
    ),
    (("--no-key",), {"action": "store_true", "help": "let other machines connect without a key"}),
    (
        ("--rerank",),
        {
            "metavar": "MODEL",
            "action": "append",
            "default": [],
            "help": "a reranker that questions may ask for; for several: --rerank A --rerank B",
        },
    ),
    (
        ("--workers",),
        {
            "metavar": "N",
            "type": _positive,
            "default": 1,
            "help": "how many processes answer; several only read the index, and need --no-ui (1)",
        },
    ),
    *LLM,
    (
        ("--llm-pictures",),
        {"action": "store_true", "help": "show that model the pictures of the pages too, as it can see them"},
    ),
    (
        ("--originals",),
        {
            "metavar": "ADDRESS",
            "action": "append",
            "default": [],
            "help": "fetch documents below this address on object storage, such as s3://bucket/papers, to show their "
            "pages",
        },
    ),
    (("--no-ui",), {"action": "store_true", "help": "serve the HTTP API and MCP without the page in the browser"}),
    (
        ("--name",),
        {
            "metavar": "HOST",
            "action": "append",
            "default": [],
            "help": "another host name of this server, such as that of its proxy",
        },
    ),
    (
        ("--upload-mb",),
        {"metavar": "N", "type": _positive, "default": 100, "help": "the largest upload, in megabytes (100)"},
    ),
    (
        ("--most-pages",),
        {"metavar": "N", "type": _positive, "default": 500, "help": "the most pages in an uploaded file (500)"},
    ),
    (
        ("--rate",),
        {"metavar": "N", "type": _positive, "default": 20, "help": "the most requests a second from one address (20)"},
    ),
]
LOGS: list[Argument] = [
    (
        ("--log-level",),
        {
            "choices": LOG_LEVELS,
            "default": "warning",
            "help": "what is logged on stderr (warning); info has a line for each request, without its question",
        },
    ),
    (("--log-json",), {"action": "store_true", "help": "log lines of JSON"}),
    (("--log-questions",), {"action": "store_true", "help": "log the questions too"}),
]
MODEL_TO_FETCH: Argument = ("model",), {"metavar": "NAME", "help": "a model of the Hugging Face hub"}
TO: Argument = ("--to",), {"metavar": "FOLDER", "required": True, "type": _path, "help": "the folder to create for it"}
MODEL_FOLDER: Argument = (
    ("folder",),
    {"metavar": "FOLDER", "type": _path, "help": "the folder to write the model to: new, or left by a stopped run"},
)
TEACHER: Argument = (
    ("--teacher",),
    {
        "metavar": "NAME",
        "help": "learn the scores of a slower and better model or reranker, such as quality; by default the model "
        "learns that all texts or pages but that of the pair are wrong",
    },
)
TRAINING: list[Argument] = [
    (("--steps",), {"metavar": "N", "type": _positive, "help": "steps of the optimiser (300)"}),
    (("--batch",), {"metavar": "N", "type": _positive, "help": "questions of a step (16)"}),
    (("--negatives",), {"metavar": "N", "type": _positive, "help": "texts or pages beside that of a question (4)"}),
    (("--rank",), {"metavar": "N", "type": _positive, "help": "rank of the changes to each layer (16)"}),
    (("--rate",), {"metavar": "X", "type": float, "help": "learning rate at its highest (0.0001)"}),
    (("--pairs",), {"metavar": "N", "type": _positive, "help": "most questions to make out of the pages (20000)"}),
    (("--seed",), {"metavar": "N", "type": _count_from_0, "help": "of all that is drawn (0)"}),
]
MODEL_TO_ADD: Argument = (
    ("model",),
    {
        "metavar": "NAME",
        "help": "a SentenceTransformer or SparseEncoder: a name of `visret models`, a folder, a hub id",
    },
)
MODEL_TO_REMOVE: Argument = ("model",), {"metavar": "NAME", "help": "its name, or dense or sparse"}
REPAIR: Argument = (
    ("--repair",),
    {"action": "store_true", "help": "drop what is damaged; the next `visret index` reads those documents again"},
)
SMALLER: list[Argument] = [
    (("--codec",), {"choices": CODECS, "help": "the codec to store vectors with from now on (the same as before)"}),
    (("--dim",), {"metavar": "N", "type": _positive, "help": "project vectors to N dimensions (the same as before)"}),
]
EVALUATED: list[Argument] = [
    (
        ("systems",),
        {
            "metavar": "INDEX",
            "nargs": "+",
            "help": "the folder of an index, or a run file of TREC; several are compared",
        },
    ),
    (
        ("questions",),
        {
            "metavar": "QUESTIONS",
            "type": _path,
            "help": "the questions with their right pages: a table (CSV) with the columns question, doc and page, JSON "
            "lines, qrels of TREC, or a folder of BEIR or ViDoRe",
        },
    ),
    (("-k",), {"type": _positive, "default": 5, "help": "measure the first K pages (5)"}),
    (
        ("--by",),
        {
            "metavar": "WAY",
            "action": "append",
            "help": "the way in which indexes rank, as in visret search; several are compared: --by A --by B",
        },
    ),
    (
        ("--rerank",),
        {
            "metavar": "MODEL",
            "action": "append",
            "default": [],
            "help": "measure each way with its first pages read again by this reranker too; several are compared",
        },
    ),
    RERANK_DEPTH,
    RERANK_SECONDS,
    (
        ("--unit",),
        {
            "choices": ["page", "document"],
            "help": "rank pages, or rank documents by their best pages (default: what the questions name)",
        },
    ),
    (
        ("--measure",),
        {
            "metavar": "NAME",
            "action": "append",
            "default": [],
            "help": "a measure as ir-measures names it (nDCG, R, RR and AP at K); differences are shown for the first",
        },
    ),
    (("--against",), {"metavar": "NAME", "help": "the system that the others are compared with (the first)"}),
    (
        ("--topics",),
        {"metavar": "FILE", "type": _path, "help": "a file with the texts of the questions, for qrels of TREC"},
    ),
    (
        ("--save-runs",),
        {
            "metavar": "FOLDER",
            "type": _path,
            "help": "write what each system found into this folder, as run files of TREC",
        },
    ),
    (
        ("--page",),
        {
            "metavar": "FILE.html",
            "type": _path,
            "help": "write a report on the questions that got worse, with pictures of the right page and of the page "
            "found first",
        },
    ),
]
CLEAR: Argument = ("--clear",), {"action": "store_true", "help": "remove all of them"}

# Every verb with its arguments; its docstring is its help.
VERBS: dict[Callable[[argparse.Namespace], int], list[Argument]] = {
    find: [QUESTION, PATHS, K, MODEL, *FILES, OCR, PASSWORD, JSON, PICTURES],
    index: [
        *(PATHS, INDEX_TO_WRITE, MODEL, *STORAGE.values(), *FILES, *METADATA),
        *(SYNC, RETRY, OCR, PASSWORD, ESTIMATE, RAY, JSON),
    ],
    watch: [
        *(PATHS, INDEX_TO_WRITE, MODEL, *STORAGE.values(), *FILES, METADATA[0]),
        *(SETTLE, POLL, OCR, PASSWORD, JSON),
    ],
    search: [
        INDEX,
        QUESTION_OR_PAGE,
        LIKE,
        K,
        OFFSET,
        WHERE,
        BY,
        FUSE,
        GROUP_BY,
        NEIGHBOURS,
        NO_WEAK,
        MIN_SCORE,
        RERANK,
        RERANK_DEPTH,
        RERANK_SECONDS,
        EXACT,
        QUESTION_MODEL,
        PASSWORD,
        JSON,
        PICTURES,
    ],
    evaluate: [*EVALUATED, FUSE, QUESTION_MODEL, PASSWORD, JSON],
    heatmap: [INDEX, QUESTION, DOC, PAGE, OUT, TOKEN, MODE, FUSE, OF_INDEX, QUESTION_MODEL, PASSWORD],
    info: [INDEX, JSON],
    verify: [INDEX, REPAIR],
    remove: [INDEX, DOCS],
    set_: [INDEX, ONE_DOC, CHANGES, JSON],
    compact: [INDEX, *SMALLER],
    reindex: [INDEX, NEW_MODEL, *STORED_AGAIN, UNDO, OCR, PAGE_SECONDS, PASSWORD, JSON],
    add_model: [INDEX, MODEL_TO_ADD, PASSWORD, JSON],
    remove_model: [INDEX, MODEL_TO_REMOVE],
    export: [INDEX, URL, ENGINE, KEEP, JSON],
    publish: [INDEX, IMAGE_URL, JSON],
    models: [JSON],
    train: [INDEX, MODEL_FOLDER, TEACHER, *TRAINING, *LLM, WRITTEN, JSON],
    serve: [INDEX_TO_SERVE, HOST, PORT, *SERVER, FUSE, QUESTION_MODEL, *LOGS],
    cache: [CLEAR],
    doctor: [INDEX_TO_LOOK_AT, JSON],
}
# Verbs that keep what they have done when they are stopped.
RESUMED = (find, index, watch, reindex, add_model, export, publish, fetch, train)
# Verbs that follow another verb.
SUBVERBS: dict[Callable[[argparse.Namespace], int], dict[Callable[[argparse.Namespace], int], list[Argument]]] = {
    models: {fetch: [MODEL_TO_FETCH, TO]},
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="visret", description="Find the right page in a pile of PDFs, and see why.")
    parser.add_argument("--version", action="version", version=f"visret {__version__}")
    for verb, made in _add_verbs(parser, VERBS, required=True).items():
        if verb in SUBVERBS:
            _add_verbs(made, SUBVERBS[verb], required=False)
    return parser


def _add_verbs(
    parser: argparse.ArgumentParser, table: dict[Callable[[argparse.Namespace], int], list[Argument]], *, required: bool
) -> dict[Callable[[argparse.Namespace], int], argparse.ArgumentParser]:
    verbs = parser.add_subparsers(metavar="COMMAND", required=required)
    added = {}
    for verb, arguments in table.items():
        made = verbs.add_parser(verb.__name__, help=verb.__doc__, description=verb.__doc__)
        _add_arguments(made, verb, arguments)
        added[verb] = made
    return added


def _add_arguments(
    parser: argparse.ArgumentParser, verb: Callable[[argparse.Namespace], int], arguments: Sequence[Argument]
) -> None:
    parser.set_defaults(run=verb)
    for flags, settings in arguments:
        parser.add_argument(*flags, **settings)


def _suggest(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Exit with a suggestion if a command or an option is misspelt; argparse would first ask for what is missing."""
    for word in argv[: argv.index("--") if "--" in argv else None]:
        verbs = next((a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {})
        if word in verbs:
            parser = verbs[word]
            continue
        name, there = (word, list(verbs))
        if word.startswith("--"):
            name, there = word.partition("=")[0], list(parser._option_string_actions)
            if any(option.startswith(name) for option in there):
                continue
        if near := get_close_matches(name, there, 1):
            parser.error(
                f"there is no {'option' if word.startswith('--') else 'command'} {name}; did you mean {near[0]}?"
            )


def _open_or_create(arguments: argparse.Namespace) -> Retriever:
    """Open the index to write, or create it. Raises PageIndexError if it was made with other settings than given."""
    from visret.index.layout import CATALOGUE
    from visret.retriever import Retriever

    folder, model = arguments.index, arguments.model
    catalogue = os.path.join(folder, CATALOGUE)  # noqa: PTH118 - os.path.exists raises nothing
    wanted = _storage(arguments)
    if not os.path.exists(catalogue):  # noqa: PTH110
        try:
            return Retriever.create(folder, model=model or DEFAULT_MODEL, **wanted)
        except PageIndexError:
            if not os.path.exists(catalogue):  # noqa: PTH110 - otherwise another process made it just now
                raise
    retriever = Retriever.open(folder)
    if reason := unwritable(folder):
        raise PageIndexError(folder, f"cannot be written: {reason}")
    if model and not retriever.uses(model):
        raise ModelMismatch(folder, f"was made with {retriever.model}, not {model}; use another --index folder")
    for name, value in wanted.items():
        if (there := getattr(retriever.storage, name)) != value:
            made = "without" if there is None else f"with --{name} {there}, not"
            raise PageIndexError(folder, f"was made {made} --{name} {value}; use another --index folder")
    return retriever


def _storage(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of storage that were given."""
    return {name: value for name in STORAGE if (value := getattr(arguments, name)) is not None}


def _estimate(arguments: argparse.Namespace) -> int:
    """Print how much time and space a new index will take."""
    from visret.embedders import load_beside
    from visret.encoders import load_encoder
    from visret.ingest.estimate import estimate
    from visret.reduction import Storage

    encoder = load_encoder(arguments.model or DEFAULT_MODEL)
    about = estimate(
        arguments.paths,
        encoder=encoder,
        beside=load_beside(encoder),
        storage=Storage(**_storage(arguments)),
        include=arguments.include,
        exclude=arguments.exclude,
        password=arguments.password,
    )
    folder = next(path for path in (Path(arguments.index).absolute() / "x").parents if path.exists())
    free = shutil.disk_usage(folder).free
    if arguments.json:
        _print_json({**asdict(about), "free_bytes": free})
    else:
        print(f"{_count(about.documents, 'document')}, {about.bytes / 1e9:,.2f} GB; estimated from a sample:")
        print(f"{_count(about.pages, 'page')}, {_hours(about.seconds)} h of computing")
        print(f"{about.index_bytes / 1e9:,.2f} GB for the index, {free / 1e9:,.2f} GB are free")
        if (arguments.model or DEFAULT_MODEL) == DEFAULT_MODEL:
            print(_ALTERNATIVE)
    return int(about.index_bytes > free)


def _metadata(retriever: Retriever, arguments: argparse.Namespace) -> tuple[Metadata, list[Failure]]:
    """Return the metadata that was given for the files, and the lines of its table that name no file."""
    common = None if arguments.metadata is None else _object("--metadata", arguments.metadata, '{"year": 2024}')
    if arguments.metadata_file is None:
        return common, []
    from visret.ingest import discovery, metadata_file

    sources = discovery.discover(arguments.paths, include=arguments.include, exclude=arguments.exclude).sources
    documents = map(retriever.document, retriever.documents())
    known = {document.doc: document.source for document in documents if document.source and not document.member}
    table, lost = metadata_file.match(Path(arguments.metadata_file), sources, arguments.paths, known)
    here = {source.named for source in sources}
    if beside := sorted(str(path) for path in table if path not in here):
        files = _count(len(beside), "file")
        _say(f"{arguments.metadata_file} names {files} that this run does not read, such as {beside[0]}")
    return lambda path: {**(common or {}), **table[path]} if path in table else common, lost


def _changes(given: Sequence[str]) -> dict[str, Any]:
    """Parse KEY=VALUE arguments into keys and values."""
    from visret.ingest.metadata_file import value

    changes: dict[str, Any] = {}
    for change in given:
        key, sign, text = change.partition("=")
        if not key or not sign:
            raise InvalidArgument(f"{change!r} is not a change; write year=2024, or year=null to delete the key")
        if key in changes:
            raise InvalidArgument(f"{key} is given twice")
        changes[key] = value(text)
    return changes


def _where(text: str | None) -> dict[str, Any] | None:
    return None if text is None else _object("--where", text, '{"doc": "a.pdf"}')


def _object(option: str, text: str, example: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except RecursionError:
        raise InvalidArgument(f"{option} is nested too deeply") from None
    except ValueError as error:
        raise InvalidArgument(f"{option} is not JSON ({error}); it looks like '{example}'") from None
    if not isinstance(found, dict):
        raise InvalidArgument(f"{option} takes a JSON object such as {example}, got {text}")
    return found


# ---- what is printed ----------------------------------------------------------------------------------------------


def _show(
    retriever: Retriever,
    arguments: argparse.Namespace,
    found: Ranked[tuple[Hit, Explanation]] | Ranked[tuple[Hit, None]],
    failed: Sequence[Failure],
    empty: Sequence[EmptyPage],
) -> int:
    """Print the hits, draw them if pictures are asked for, and return how many pictures could not be drawn.

    A hit without an explanation is drawn as it is.
    """
    from visret.retriever import as_json

    entries = []
    missing = 0
    broken = False  # if one picture cannot be written into the folder, no other can
    for hit, why in found:
        entry = as_json(hit, why.boxes, why.about) if why and arguments.json else as_json(hit)
        if arguments.pictures and not (why and not why.embedding.size_pt) and not broken and not hit.neighbour_of:
            picture = Path(arguments.pictures) / _picture_name(hit)
            try:
                _save(why.image() if why else retriever.picture(hit), picture)
                entry["picture"] = str(picture)
            except NoPicture:
                pass  # plain text
            except VisretError as error:  # the file has changed or is gone; the hit is shown without a picture
                missing += 1
                broken = isinstance(error, PageIndexError)
                _say(f"no picture of {hit.doc}, page {hit.page}{', or any after it' * broken}: {error}")
        entries.append(entry)
    if arguments.json:
        unread = {"failed": [asdict(f) for f in failed], "empty": [asdict(e) for e in empty]}
        unread["lost"] = [asdict(lost) for lost in retriever.lost()]
        like = vars(arguments).get("like")
        asked = {"query": arguments.question} if like is None else {"like": like}
        _print_json({**asked, "hits": entries, "warnings": found.warnings, **unread})
        return missing
    hits = [hit for hit, _ in found]
    if not hits:
        print(_nothing(retriever, arguments))
    strong = any(not hit.weak for hit in hits if not hit.neighbour_of)
    if hits and not strong:
        print("No page answers this well; the nearest are:")
    was_weak = not strong
    for hit, entry in zip(hits, entries, strict=True):
        if hit.weak and not was_weak:
            print("Weak matches:")
        place = _printable(f"{hit.doc}  p. {hit.page}")
        if hit.neighbour_of:
            print(f"  + {_link(place, hit)}{' ' * max(1, 44 - len(place))}next to {hit.neighbour_of}")
            continue
        was_weak = hit.weak
        score = "     -" if entry["unscored"] else f"{hit.score:6.2f}"
        print(f"{hit.rank:3}  {_link(place, hit)}{' ' * max(1, 44 - len(place))}{score}")
        if snippet := _snippet(hit):
            print(f"     {_printable(snippet)}")
        if entry["picture"]:
            print(f"     {entry['picture']}")
    return missing


def _snippet(hit: Hit) -> str:
    """Return a line of the passage: its beginning, or if that is far from the line that answers best, that line."""
    passage, line = (" ".join(text.split()) for text in (hit.passage.text if hit.passage else "", hit.text))
    at = passage.find(line)
    if not line or at <= 0 or at + len(line) <= SNIPPET:
        return textwrap.shorten(passage or line, SNIPPET, placeholder=" ...")
    return textwrap.shorten(f"... {passage[at:]}", SNIPPET, placeholder=" ...")


def _nothing(retriever: Retriever, arguments: argparse.Namespace) -> str:
    """Say why no hit is shown."""
    if not retriever.info()["pages"]:
        return "no page was found: nothing has been read yet"
    if any(vars(arguments).get(name) for name in ("no_weak", "offset", "min_score")):  # other verbs have none
        return (
            "no page is left: those that were found are weak (--no-weak), of less relevance than --min-score, or stand "
            "before --offset"
        )
    if not vars(arguments).get("where"):
        return "no page has the words of this question"
    return "no page passes the filter, or none that does has the words of this question"


def _print_json(value: Any) -> None:
    from visret.retriever import sendable

    print(json.dumps(sendable(value)))


def _link(text: str, hit: Hit) -> str:
    """Return the text as a link to the page if the terminal can show one (OSC 8), or else as it is."""
    from visret.stores.objects import is_address

    if not hit.source or is_address(hit.source) or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return text
    address = Path(hit.source).as_uri() + ("" if hit.member else hit.link)
    return f"\033]8;;{address}\033\\{text}\033]8;;\033\\"


def _add(
    retriever: Retriever,
    arguments: argparse.Namespace,
    metadata: Metadata = None,
    lost: Sequence[Failure] = (),
    *,
    sync: bool,
    retry_failed: bool = False,
    executor: Executor[Any, Any] | None = None,
) -> Report:
    """Bring the files in. lost: failures to report before those of the files."""
    add = partial(
        retriever.add,
        arguments.paths,
        metadata=metadata,
        include=arguments.include,
        exclude=arguments.exclude,
        sync=sync,
        retry_failed=retry_failed,
        password=arguments.password,
        ocr=arguments.ocr,
        page_seconds=arguments.page_seconds,
        executor=executor,
    )

    def read(*, progress: Callable[[Progress], None]) -> Report:
        report = add(progress=progress)
        return replace(report, failed=[*lost, *report.failed])

    return _watch(retriever, read, arguments.ocr)


def _watch(retriever: Retriever, read: Callable[..., Report], ocr_mode: str) -> Report:
    """Call `read` with a progress meter, and print what could not be read."""
    meter = Meter()
    try:
        report = read(progress=meter)
    finally:
        meter.close()
    _complain(report, retriever, ocr_mode)
    return report


def _complain(report: Report, retriever: Retriever, ocr_mode: str) -> None:
    """Print what could not be read, and what is missing."""
    for failure in report.failed:
        page = f", page {failure.page}" if failure.page else ""
        _say(f"failed: {failure.path}{page}: {failure.reason}")
    if report.ignored:
        from visret.documents import formats

        _say(f"{formats.unread(Counter(map(formats.ending, report.ignored)))} (--json lists them)")
    for path, losses in itertools.groupby(sorted(report.lost, key=lambda lost: lost.path), key=lambda lost: lost.path):
        _say(f"missing: {path}: {_losses(list(losses))}")
    if report.empty:
        _say(empty_hint(report, retriever.modality, ocr_mode))


def _losses(losses: Sequence[Lost]) -> str:
    """Say in one line what is missing from a file: the pages of each kind of content, and what would bring it."""
    pages: dict[tuple[str, str], list[int]] = {}
    for lost in losses:
        pages.setdefault((lost.what, lost.help), []).extend([lost.page] if lost.page else [])
    said = [f"{what}{_on_pages(on)} ({help_})" for (what, help_), on in pages.items()]
    more = f"; and {len(said) - KINDS_OF_LOSS} more (--json lists them)" if len(said) > KINDS_OF_LOSS else ""
    return "; ".join(said[:KINDS_OF_LOSS]) + more


def _on_pages(pages: Sequence[int]) -> str:
    if not pages:
        return ""
    if len(pages) == 1:
        return f", page {pages[0]}"
    return f", pages {', '.join(map(str, pages[:5]))}" + (f" and {len(pages) - 5} more" if len(pages) > 5 else "")


def empty_hint(report: Report, modality: str, ocr_mode: str) -> str:
    """Say in one line which pages the model cannot read, and what would read them."""
    pages = _count(len(report.empty), "page")
    where = ", ".join(sorted({Path(e.path).name for e in report.empty})[:3])
    if modality == "text":
        if ocr_mode == "never":
            return f"{pages} without text, such as scans ({where}): --ocr auto reads them"
        from visret import ocr

        other = "pip install 'visret[ocr]' for worse pictures, or use " if ocr.engine() == "glyph" else "use "
        kind = "in which OCR found none either"
        return f"{pages} without text, {kind} ({where}): {other}a model that reads pixels (`visret models`)"
    return f"{pages} without a picture ({where}): a model that reads words finds them (`visret models`)"


class Meter:
    """A progress meter on stderr, which begins after two seconds.

    A terminal shows one line that is overwritten; elsewhere there is a line every ten seconds. The meter writes in a
    thread of its own, since a batch may take long.
    """

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.first = self.shown = 0.0
        self.width = 0
        self.terminal = sys.stderr.isatty()
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, name="visret-meter", daemon=True)

    def __call__(self, progress: Progress) -> None:
        """Show this progress from now on."""
        if self.progress is None:
            self.progress, self.first = progress, time.monotonic()
            self.thread.start()

    def _run(self) -> None:
        while not self.over.wait(0.25):
            with self.lock:
                now = time.monotonic()
                if now - self.first >= SILENT and now - self.shown >= (0.5 if self.terminal else 10):
                    self._show()
                    self.shown = now

    def _show(self) -> None:
        assert self.progress is not None
        line = _line(self.progress)
        if self.terminal:
            sys.stderr.write(f"\r{line:{self.width}}")
            sys.stderr.flush()
            self.width = len(line)
        else:
            print(line, file=sys.stderr)

    def close(self) -> None:
        """Stop the meter, and clear its line on the terminal."""
        self.over.set()
        if self.progress is not None:
            self.thread.join()
        if self.terminal and self.width:
            sys.stderr.write(f"\r{'':{self.width}}\r")
            sys.stderr.flush()


def _line(progress: Progress) -> str:
    about = "" if progress.pages_are_counted else "about "
    line = f"{progress.pages:,} of {about}{progress.pages_total or 0:,} pages"
    line += f", {progress.documents:,} of {_count(progress.documents_total, 'file')}"
    if progress.pages:
        line += f"  {progress.pages / progress.seconds:.1f} pages/s"
    if (left := progress.seconds_left) is not None:
        line += f"  {_hours(left)} left"
    return line + (f"  {progress.failed} failed" if progress.failed else "")


def _hours(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _summary(report: Report, folder: str) -> str:
    parts = [f"{report.added} added", f"{report.unchanged} unchanged"]
    if report.updated:
        parts.append(f"{report.updated} with other metadata")
    if report.removed:
        parts.append(f"{report.removed} removed")
    if report.failed:
        parts.append(f"{len(report.failed)} failed")
    return f"{folder}: {_count(report.documents, 'document')} ({', '.join(parts)}), {_pace(report)}"


def _pace(report: Report) -> str:
    rate = f", {report.pages / report.seconds:.1f} pages/s" if report.pages and report.seconds else ""
    return f"{report.pages} pages read in {report.seconds:.1f} s{rate}"


def _check_pictures(folder: str | None) -> None:
    """Raise an error now, and not after pages have been read and ranked, if no picture can be written."""
    if folder is None:
        return
    if os.path.isfile(folder):  # noqa: PTH113 - Path's raises in folders that may not be read
        raise InvalidArgument(f"--pictures takes a folder, but {folder} is a file")
    _check_folder(Path(folder))


def _check_folder(folder: Path) -> None:
    if reason := unwritable(folder):
        raise PageIndexError(folder, f"no picture can be written there ({reason}); name another folder")


def _picture_name(hit: Hit) -> str:
    """Name the picture of a hit.

    The rank makes the name unique, so the document's name in it may be changed to what every file system takes.
    """
    return f"{hit.rank:02d}-{_file_name(hit.doc)}-p{hit.page}.png"


def _file_name(text: str) -> str:
    """Make text a part of a file's name; of long text, the end is kept."""
    name = "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in text)
    while len(name.encode("utf8", "replace")) > PICTURE_NAME:
        name = name[1:]
    return name


def _save(image: Any, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            path.unlink(missing_ok=True)  # half a picture
        raise PageIndexError(path, f"the picture cannot be written: {error}") from error


def _size(spec: ModelSpec) -> str:
    """Return the size of a model in words: its parameters, or its bytes if they are unknown."""
    if not spec.parameters:
        return f"{spec.size_gb:.1f} GB" if spec.size_gb else ""
    return f"{spec.parameters:.0f} M" if spec.parameters < 1000 else f"{spec.parameters / 1000:.1f} B"


def _about(spec: ModelSpec) -> str:
    """Return what a model is for, and the languages that it knows."""
    known = spec.languages
    languages = ", ".join(known) if len(known) <= 3 else f"{len(known)} languages"
    purpose = f"questions for {spec.questions_for}" if spec.questions_for else spec.purpose
    return ", ".join(part for part in (purpose, languages) if part)


def _print_tables(tables: Sequence[Sequence[tuple[str, ...]]]) -> None:
    """Print tables with the same columns, each with its head.

    The last column is cut to fit the terminal, or 100 columns if there is none.
    """
    widths = [max(map(len, column)) for column in zip(*(row for table in tables for row in table), strict=True)]
    space = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100
    widths[-1] = min(widths[-1], max(10, space - sum(widths[:-1]) - 2 * (len(widths) - 1)))
    for number, table in enumerate(tables):
        print("\n" * bool(number), end="")
        for row in table:
            last = row[-1] if len(row[-1]) <= widths[-1] else f"{row[-1][: widths[-1] - 3]}..."
            cells = (*row[:-1], last)
            print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _say(line: str) -> None:
    print(_printable(line), file=sys.stderr)


def _printable(text: str) -> str:
    """Return the text without control characters: a document must not move the cursor or rename the window."""
    return "".join(c if c.isprintable() else " " * c.isspace() for c in text)


if __name__ == "__main__":
    sys.exit(main())
