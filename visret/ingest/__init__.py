"""Files into an index: find them, read their pages, encode and write them; a failure is reported, and stops nothing.

Importing this package costs nothing, because its names are loaded when they are asked for: the process that reads
documents needs only a few of these modules, and a search only `options` and `report`. Each module imports only
modules above it in this list:

    options        how files are read
    costs          the time it takes to read and encode pages and files
    ahead          the files that are not read yet, as far as they are known
    forecast       the time that a run will still take
    report         the report of a run: its progress, then what was read, what failed and what is missing
    discovery      paths to files, and their names in the index
    messages       the requests to a worker process, its answers, and the frames that carry them
    process        the worker process as its parent sees it: started, watched, ended
    pages          opening a file and reading a page, in a worker
    worker         the process itself: python -m visret.ingest.worker
    scout          a look into files that a run has not reached yet
    progress       the progress of a run, told to the caller and to the forecast
    tasks          the files to be read, and the answers that come of them
    plan           the decision which documents are read, left, renamed and removed; it writes nothing
    reader         reading files in worker processes, ahead of the encoder
    stored         pages that the index has: those made in memory, and files drawn again
    encoding       pages to vectors, in batches
    recorder       carrying out a plan, and writing what comes of its files
    run            add, replace, reindex, add_pages
    estimate       the time and space that indexing will take, from a sample
    metadata_file  a table of metadata, CSV or JSONL, and the files that its lines belong to
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visret.index.model import check_same as check_same
    from visret.index.model import record as record
    from visret.ingest.discovery import Found as Found
    from visret.ingest.discovery import Source as Source
    from visret.ingest.discovery import discover as discover
    from visret.ingest.discovery import given_paths as given_paths
    from visret.ingest.encoding import BATCH_PAGES as BATCH_PAGES
    from visret.ingest.encoding import encode as encode
    from visret.ingest.options import PAGE_SECONDS as PAGE_SECONDS
    from visret.ingest.options import ReadOptions as ReadOptions
    from visret.ingest.report import EmptyPage as EmptyPage
    from visret.ingest.report import Failure as Failure
    from visret.ingest.report import Lost as Lost
    from visret.ingest.report import Metadata as Metadata
    from visret.ingest.report import Patterns as Patterns
    from visret.ingest.report import Progress as Progress
    from visret.ingest.report import Report as Report
    from visret.ingest.report import shown as shown
    from visret.ingest.run import add as add
    from visret.ingest.run import add_pages as add_pages
    from visret.ingest.run import reindex as reindex
    from visret.ingest.run import replace_document as replace_document
    from visret.ingest.stored import check_unchanged as check_unchanged
    from visret.ingest.stored import drawn_page as drawn_page
    from visret.ingest.stored import stored_page as stored_page

_HOMES = {
    "visret.index.model": ("check_same", "record"),
    "visret.ingest.discovery": ("Found", "Source", "discover", "given_paths"),
    "visret.ingest.encoding": ("BATCH_PAGES", "encode"),
    "visret.ingest.options": ("PAGE_SECONDS", "ReadOptions"),
    "visret.ingest.report": ("EmptyPage", "Failure", "Lost", "Metadata", "Patterns", "Progress", "Report", "shown"),
    "visret.ingest.run": ("add", "add_pages", "reindex", "replace_document"),
    "visret.ingest.stored": ("check_unchanged", "drawn_page", "stored_page"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
