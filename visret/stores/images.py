"""Images: an index as one process has published it on object storage, for any number of machines that search it.

    head.json              which image is the current one: {"image": ..., "commits": ...}
    images/SHA256.json     an image: every file of the index with its SHA-256 and bytes, by its place in the folder
    files/SHA256           a file, by its content

Files and images never change, and their names are their checksums, so what is there already is neither sent nor fetched
again. A reader sees all of an image or nothing: the head is replaced in one step, and only by somebody who has seen the
one before. A reader keeps files in the cache folder, and opens an image when all of it is there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import unquote, urlsplit

from visret.errors import IndexFormatError, IndexLocked, InvalidArgument, PageIndexError
from visret.folders import cache_folder
from visret.index import PageIndex, catalogue, renditions, seal
from visret.index.layout import CATALOGUE, SEAL, fitted_folder, segment_folder
from visret.index.writer import writer_lock
from visret.stores.objects import RETRIES, Storage

if TYPE_CHECKING:
    from obstore.store import ObjectStore

HEAD = "head.json"
LOCK = "image.lock"
TOGETHER = 8  # files on their way at once
TRIES = 3  # to get an image, or to publish one, while somebody else writes
CACHE_SECONDS = 3600.0  # that one process waits for another one that fetches
PART = 1 << 20  # bytes of a file that are read at a time
KEPT = 2  # images in the cache folder: another process may be about to leave the one before

TOLD = 1 << 29  # bytes to fetch that somebody who waits is told of
NAME = re.compile(r"\w[\w-]*(/\w+)*\.\w+", re.ASCII)  # of a file in an index
SHA256 = re.compile("[0-9a-f]{64}")

_log = logging.getLogger(__name__)

Told = Callable[[int, int], None]  # bytes done, bytes in all


class Published(NamedTuple):
    """The numbers of files of an image, of those that were sent, of their bytes, and of commits of the index."""

    files: int
    sent: int
    bytes_sent: int
    commits: int


class _File(NamedTuple):
    """A file of an image. sha256: its name in files/."""

    sha256: str
    bytes: int


class _Place(Storage):
    """A place on object storage. url: its address, as errors name it. make: whether a folder is made for it."""

    def __init__(self, url: str, *, make: bool = False) -> None:
        super().__init__(url, PageIndexError)
        from obstore.store import LocalStore, from_url

        parts = urlsplit(url)
        self.folder = Path(unquote(parts.path)) if parts.scheme == "file" else None
        if self.folder is not None:
            if parts.netloc or len(parts.path) < 2:
                raise InvalidArgument(f"a folder is named by its whole path, as in file:///data/pages, got {url!r}")
            if not make and not self.folder.is_dir():
                raise _absent(self)
            self._store: ObjectStore = LocalStore(self.folder, mkdir=make)
        else:
            if not parts.hostname or not parts.path.strip("/"):
                raise InvalidArgument(f"an image has a bucket and a name, as in s3://bucket/pages, got {url!r}")
            self._store = from_url(self.url, retry_config=RETRIES)

    def get(self, name: str) -> tuple[bytes, str | None]:
        """Return an object and its ETag. Raises FileNotFoundError."""
        with self.asking():
            found = self._obstore.get(self._store, name)
            return bytes(found.bytes()), found.meta["e_tag"]

    def fetch(self, name: str, target: Path) -> None:
        """Write an object to a file. Raises FileNotFoundError, and IndexFormatError if it is not what its name says."""
        digest = hashlib.sha256()
        with self.asking(), target.open("wb") as file:
            for part in self._obstore.get(self._store, name).stream(min_chunk_size=PART):
                digest.update(part)
                file.write(part)
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave a file that is not what its name says
        if digest.hexdigest() != name.rpartition("/")[2]:
            raise IndexFormatError(
                self.url,
                f"{name} is damaged (its checksum differs), so nothing of this image is used; publish it again",
            )

    def put(self, name: str, content: bytes | Path) -> None:
        """Write an object whose name says what it is."""
        with self.asking():
            self._obstore.put(self._store, name, content)

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the bytes of the objects in a folder, by the last part of their names."""
        with self.asking():
            listed = self._obstore.list(self._store, prefix=f"{folder}/")
            return {one["path"].rpartition("/")[2]: one["size"] for part in listed for one in part}

    def replace(self, name: str, content: bytes, etag: str | None) -> bool:
        """Write an object if it is still the one with this ETag, None for none; return whether it was."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        if self.folder is not None:  # obstore has no compare-and-swap for folders
            with writer_lock(self.folder):
                try:
                    now = self.get(name)[1]
                except FileNotFoundError:
                    now = None
                if now != etag:
                    return False
                self.put(name, content)
                return True
        with self.asking():
            try:
                mode: Any = "create" if etag is None else {"e_tag": etag}
                self._obstore.put(self._store, name, content, mode=mode)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True


def publish(index: str | Path, url: str, *, progress: Told | None = None) -> Published:
    """Publish the latest committed state of an index; readers see it whole, or what was there before.

    progress: called with the bytes that are there, and those of the image.

    Files that are there already are not sent again, so that a call that was interrupted goes on. Nothing is changed if
    it raises IndexFormatError, for a damaged file of the index, or PageIndexError, if somebody else has published there
    meanwhile.
    """
    place = _Place(url, make=True)
    folder = Path(index).absolute()
    try:
        etag = place.get(HEAD)[1]
    except FileNotFoundError:
        etag = None
    for last in (False, False, True):
        with tempfile.TemporaryDirectory(prefix="visret-publish-", ignore_cleanup_errors=True) as scratch:
            files, commits = _files(folder, Path(scratch))
            try:
                sent = _send(place, files, progress)
            except FileNotFoundError as error:
                if last:
                    raise PageIndexError(folder, f"{error.filename} is missing; run visret verify --repair") from error
                continue  # a writer has compacted it meanwhile
        break
    text = json.dumps({name: [*file] for name, (_, file) in sorted(files.items())}).encode()
    image = hashlib.sha256(text).hexdigest()
    place.put(f"images/{image}.json", text)
    if not place.replace(HEAD, json.dumps({"image": image, "commits": commits}).encode(), etag):
        raise PageIndexError(
            place.url, "somebody else has published there meanwhile, and that was kept; publish again to replace it"
        )
    return Published(len(files), len(sent), sum(file.bytes for file in sent), commits)


def _files(index: Path, scratch: Path) -> tuple[dict[str, tuple[Path, _File]], int]:
    """Return every file of the latest committed state, by its place in the folder, and the number of commits.

    The catalogue is copied, so that it stays as it is; what it lists never changes.
    """
    with closing(catalogue.connect(index)) as connection, catalogue.reading_errors(index):
        connection.execute("BEGIN")
        (scratch / CATALOGUE).write_bytes(connection.serialize())
    with closing(catalogue.connect(scratch)) as connection, catalogue.reading_errors(scratch):
        settings = catalogue.read_settings(connection)
        segments = catalogue.read_segments(connection)
        pictures = connection.execute("SELECT document, page, checksum FROM renditions").fetchall()
    seal.create(scratch, CATALOGUE)
    sums = {scratch / name: _sha256(scratch / name) for name in (CATALOGUE, SEAL)}
    for row in segments:
        at = segment_folder(index, row.number)
        sums |= {at / name: checksum for name, checksum in catalogue.parse_object(row.checksums).items()}
    if settings.fitted:
        at = fitted_folder(index, settings.fitted["number"])
        sums |= {at / name: checksum for name, checksum in settings.fitted["checksums"].items()}
    sums |= {renditions.path_of(index, document, page): checksum for document, page, checksum in pictures}
    files = {}
    for path, checksum in sums.items():
        name = path.relative_to(scratch if path.is_relative_to(scratch) else index).as_posix()
        files[name] = path, _File(checksum, path.stat().st_size if path.exists() else 0)
    return files, settings.commits


def _send(place: _Place, files: Mapping[str, tuple[Path, _File]], progress: Told | None) -> list[_File]:
    """Send the files that are not there; return them. Raises FileNotFoundError for one that is gone."""
    there = place.sizes("files")
    known = {file.sha256 for _, file in files.values() if there.get(file.sha256) == file.bytes}
    missing = {file.sha256: (path, file) for path, file in files.values() if file.sha256 not in known}
    total = sum({file.sha256: file.bytes for _, file in files.values()}.values())
    done = total - sum(file.bytes for _, file in missing.values())

    def send(path: Path, file: _File) -> int:
        if not path.exists():
            raise FileNotFoundError(2, "is gone", str(path))
        if _sha256(path) != file.sha256:
            raise IndexFormatError(path.parent, f"{path.name} is damaged (its checksum differs); see visret verify")
        place.put(f"files/{file.sha256}", path)
        return file.bytes

    with ThreadPoolExecutor(TOGETHER, "visret-publish") as threads:
        for size in threads.map(lambda one: send(*one), missing.values()):
            done += size
            if progress is not None:
                progress(done, total)
    return [file for _, file in missing.values()]


class Image(PageIndex):
    """An image, opened to be searched. `refresh` goes to what was published last."""

    def __init__(self, url: str) -> None:
        """Fetch what the cache folder lacks, and open it. Raises PageIndexError if there is no image."""
        self._place = _Place(url)
        folder, self._etag = _fetched(self._place)
        super().__init__(folder)

    def refresh(self) -> bool:
        """Go to the image that was published last, and return whether it is another one.

        What it has in common with the one before stays open. After an error the one before is still there.
        """
        with self._guard:
            if self._state is None:  # it is being opened
                return super().refresh()
            try:
                _, etag = self._place.get(HEAD)
            except FileNotFoundError:
                raise _absent(self._place) from None
            if etag == self._etag:
                return False
            folder, etag = _fetched(self._place)
            if folder == self._home:
                self._etag = etag
                return False
            before = self._state, self._home, self._path
            self._home = self._path = folder
            try:
                with closing(catalogue.connect(folder)) as connection, catalogue.reading_errors(folder):
                    commits = catalogue.read_settings(connection).commits
                if commits == before[0].snapshot.commits:
                    self._state = None  # of another index, or it would be the same image
                super().refresh()
            except BaseException:
                self._state, self._home, self._path = before
                raise
            self._etag = etag
            return True

    @contextmanager
    def writing(self) -> Iterator[NoReturn]:
        """Raise InvalidArgument: an image is published, not changed."""
        yield self._refuse()

    @contextmanager
    def reindexing(self, *_: object) -> Iterator[NoReturn]:
        """Raise InvalidArgument: an image is published, not changed."""
        yield self._refuse()

    def go_back(self) -> NoReturn:
        """Raise InvalidArgument: an image is published, not changed."""
        self._refuse()

    def repair(self) -> NoReturn:
        """Raise InvalidArgument: an image is published, not changed."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise InvalidArgument(
            f"{self._place.url} is an image, which is only searched: change the index, and visret publish it again"
        )


def _absent(place: _Place) -> PageIndexError:
    return PageIndexError(place.url, f"no image is there; visret publish INDEX {place.url} makes one")


def _fetched(place: _Place) -> tuple[Path, str | None]:
    """Return the folder with the image that was published last, all of it, and the ETag of the head."""
    cache = cache_folder() / "images" / hashlib.sha256(place.url.encode()).hexdigest()[:20]
    try:
        (cache / "files").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{cache} cannot be written ({error.strerror}); set VISRET_CACHE to a folder that can be"
        raise PageIndexError(place.url, f"its files are kept in the cache folder, but {reason}") from error
    before: bytes | None = None
    with _only_one(cache):
        for _ in range(TRIES):
            try:
                text, etag = place.get(HEAD)
            except FileNotFoundError:
                raise _absent(place) from None
            image = _parsed(place, HEAD, text).get("image")
            if not isinstance(image, str) or not SHA256.fullmatch(image):
                raise IndexFormatError(place.url, f"{HEAD} is damaged; publish the index again")
            folder = cache / image
            if folder.is_dir():
                os.utime(folder)
                return folder, etag
            try:
                _fetch(place, image, cache)
            except FileNotFoundError as error:
                if text == before:
                    raise IndexFormatError(
                        place.url, f"a file of this image is missing ({error}); publish the index again"
                    ) from error
                before = text  # another one may have been published, and the files of this one deleted
                continue
            except OSError as error:
                reason = f"its files cannot be kept in {cache}: {error.strerror or error}"
                raise PageIndexError(place.url, reason) from error
            _trim(cache)
            return folder, etag
    raise PageIndexError(place.url, "it is published faster than it can be fetched; try again")


def _fetch(place: _Place, image: str, cache: Path) -> None:
    """Fetch the files of an image that are not in the cache folder, and put them together in a folder of its own."""
    text, _ = place.get(f"images/{image}.json")
    if hashlib.sha256(text).hexdigest() != image:
        raise IndexFormatError(place.url, f"images/{image}.json is damaged; publish the index again")
    files = {}
    for name, listed in _parsed(place, f"images/{image}.json", text).items():
        file = files[name] = _File(*listed) if isinstance(listed, list) and len(listed) == 2 else _File("", 0)
        if not (NAME.fullmatch(name) and SHA256.fullmatch(str(file.sha256)) and isinstance(file.bytes, int)):
            raise IndexFormatError(place.url, f"the image names {name!r}, which no index has; do not trust it")
    missing = {file.sha256: file.bytes for file in files.values() if not (cache / "files" / file.sha256).is_file()}
    if (size := sum(missing.values())) > TOLD:
        _log.warning("%s: %.1f GB are fetched into %s", place.url, size / 1e9, cache)

    def fetch(name: str) -> None:
        part = cache / "files" / f"{name}.part"
        place.fetch(f"files/{name}", part)
        part.replace(cache / "files" / name)

    with ThreadPoolExecutor(TOGETHER, "visret-fetch") as threads:
        list(threads.map(fetch, sorted(missing)))
    draft = cache / f"{image}.part"
    shutil.rmtree(draft, ignore_errors=True)
    for name, file in files.items():
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(cache / "files" / file.sha256, target)
        except OSError:  # a file system without links
            shutil.copyfile(cache / "files" / file.sha256, target)
    draft.rename(cache / image)


def _trim(cache: Path) -> None:
    """Delete images that were left long ago, and files that no image has any more. For the holder of the lock."""
    folders = [one for one in cache.iterdir() if SHA256.fullmatch(one.name)]
    folders.sort(key=lambda one: one.stat().st_mtime, reverse=True)
    for folder in folders[KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
    for file in (cache / "files").iterdir():
        with suppress(OSError):  # open on Windows
            if file.stat().st_nlink == 1:
                file.unlink()


@contextmanager
def _only_one(cache: Path) -> Iterator[None]:
    """Hold the lock of a cache folder, and wait for a process that holds it: it fetches the same."""
    began = time.monotonic()
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(writer_lock(cache, LOCK))
                break
            except IndexLocked:
                if time.monotonic() - began > CACHE_SECONDS:
                    raise
                time.sleep(0.1)
        yield


def _parsed(place: _Place, name: str, text: bytes) -> dict[str, Any]:
    try:
        return catalogue.parse_object(text.decode("utf8"))
    except ValueError as error:
        raise IndexFormatError(place.url, f"{name} is damaged ({error}); publish the index again") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
