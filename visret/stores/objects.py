"""Objects: what is asked of object storage (S3 and what speaks its protocol, Google, Azure), through obstore.

Keys and servers are those of the environment, as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL. The address of an object is
its bucket and its name as they are, with nothing written as %20: `s3://bucket/a folder/a.pdf`.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from visret.errors import DocumentError, InvalidArgument, MissingExtra

if TYPE_CHECKING:
    from datetime import datetime

    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az", "file")
"""The schemes of addresses on object storage."""

FETCHED = "visret.fetched"
"""The audit event (PEP 578) before an original is looked at or fetched, with its address; a listener may refuse it."""

RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
RANGE = 8 << 20  # bytes of one request: obstore gives up what takes more than half a minute
SAID = 200  # letters of what object storage says
_ADDRESS = re.compile(rf"(?:{'|'.join(SCHEMES)})://", re.ASCII)
_KEYS = "check the keys in the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_CREDENTIALS = re.compile(r"169\.254\.169\.254|metadata\.google|credential|token provider|\b40[13]\b", re.IGNORECASE)
_NAME = re.compile("invalid path", re.IGNORECASE)
_NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)


def is_address(path: str | Path) -> bool:
    """Return whether this names something on object storage."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def is_below(source: str, address: str) -> bool:
    """Return whether the address of an object is this one, or goes on from it."""
    return source == address or source.startswith(f"{address}/")


class Storage:
    """Object storage at an address. error: the class of what it raises, made of the address and a reason."""

    _process: int | None = None  # the one that has used obstore, whose threads a forked child does not have

    def __init__(self, url: str, error: Callable[[str, str], Exception]) -> None:
        self.url = url.rstrip("/")
        self._error = error
        try:
            import obstore
            from obstore.exceptions import BaseError
        except ImportError:
            raise MissingExtra("object storage needs obstore: pip install 'visret[objects]'") from None
        self._obstore, self._failure = obstore, BaseError

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Put what fails in the block into words, except that something is not there: FileNotFoundError."""
        if Storage._process not in (None, os.getpid()):
            raise self._error(
                self.url,
                "obstore, which asks object storage, would wait for ever in a process that was forked after its first "
                "use; open it after the fork, or start the process anew (spawn)",
            )
        Storage._process = os.getpid()
        try:
            yield
        except self._failure as error:  # an object that is not there raises FileNotFoundError
            said = str(error).partition("\n")[0]
            raise self._error(self.url, f"the object storage does not answer as it should: {said}") from error


class Object(NamedTuple):
    """An object as object storage lists it.

    url: its address. size: its bytes. stamp: a number for this version, for what the index keeps of a file as
    `mtime_ns`: the second in which it was written, and digits of its ETag in place of the nanoseconds. e_tag: its ETag,
    without quotes; "" for one that has none.
    """

    url: str
    size: int
    stamp: int
    e_tag: str


def unknown(url: str) -> Object:
    """Return an object of which nothing is known but its address."""
    return Object(url, 0, 0, "")


class Bucket(Storage):
    """A bucket with originals. url: an address in it. Everything here raises DocumentError.

    Raises InvalidArgument for an address without a bucket.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, DocumentError)
        scheme, _, rest = url.partition("://")
        self.name, _, self.key = ("", "", rest) if scheme == "file" else rest.partition("/")
        self.key = self.key.strip("/")
        self.url = f"{scheme}://{self.name}{'/' if self.key else ''}{self.key}"
        self._root = f"{scheme}://{self.name}/"
        if scheme == "file" and (not rest.startswith("/") or not self.key):
            raise InvalidArgument(f"a folder is named by its whole path, as in file:///data/pages, got {url!r}")
        if scheme != "file" and not self.name:
            raise InvalidArgument(f"an address has a bucket, as in {scheme}://bucket/folder, got {url!r}")
        from obstore.store import LocalStore, from_url

        self._store: ObjectStore = (
            LocalStore() if scheme == "file" else from_url(f"{scheme}://{self.name}", retry_config=RETRIES)
        )

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Put what fails in the block into words."""
        try:
            sys.audit(FETCHED, self.url)
            with super().asking():
                yield
        except FileNotFoundError as error:
            if _NO_BUCKET.search(str(error)):
                raise DocumentError(self.url, f"there is no bucket {self.name!r}") from error
            raise
        except PermissionError as error:
            raise DocumentError(self.url, str(error)) from error
        except DocumentError as error:
            said = " ".join(str(error.__cause__ or error.reason).partition("Debug source")[0].split())
            if _NO_BUCKET.search(said):
                raise DocumentError(self.url, f"there is no bucket {self.name!r}") from error
            if error.__cause__ is not None and _CREDENTIALS.search(said):
                reason = f"the object storage does not let this process in; {_KEYS}. It says: {said[:SAID]}"
                raise DocumentError(self.url, reason) from error
            if _NAME.search(said):
                reason = f"an object there has a name that obstore does not read; rename it. It says: {said[:SAID]}"
                raise DocumentError(self.url, reason) from error
            raise

    def listed(self) -> list[Object]:
        """Return the object at the address, or else all objects below it, in order of their names; [] for none."""
        alone: list[Object] = []
        if self.key:
            with suppress(FileNotFoundError):
                alone.append(self.head())
        if any(one.size for one in alone):  # else it may stand for a folder
            return alone
        with self.asking():
            prefix = f"{self.key}/" if self.key else None
            parts = self._obstore.list(self._store, prefix=prefix, chunk_size=1000)
            return sorted(self._object(one) for part in parts for one in part) or alone

    def head(self) -> Object:
        """Return the object at the address. Raises FileNotFoundError if there is none."""
        with self.asking():
            return self._object(self._obstore.head(self._store, self.key))

    def parts(self, one: Object) -> Iterator[bytes]:
        """Yield the content of an object, which is the object at the address, piece by piece.

        Raises DocumentError where it is gone, is another version by now, or breaks off.
        """
        for start in range(0, one.size, RANGE):
            end = min(start + RANGE, one.size)
            try:
                with self.asking():
                    got = self._obstore.get(self._store, self.key, options={"range": (start, end)})
                    part, now = bytes(got.bytes()), self._object(got.meta)
            except FileNotFoundError as error:
                raise DocumentError(one.url, "is no longer there; put it back, or index again") from error
            if (now.size, now.stamp) != (one.size, one.stamp):
                raise DocumentError(one.url, "has changed since it was listed; index it again")
            if len(part) != end - start:
                at = f"{start + len(part):,} of {one.size:,} bytes"
                raise DocumentError(one.url, f"broke off after {at}; index it again")
            yield part

    def _object(self, meta: Any) -> Object:
        e_tag = (meta["e_tag"] or "").strip('"')
        return Object(self._root + meta["path"], meta["size"], _stamp(meta["last_modified"], e_tag), e_tag)


def _stamp(written: datetime, e_tag: str) -> int:
    digits = int.from_bytes(hashlib.sha256(e_tag.encode()).digest()[:8], "big") % 10**9
    return int(written.timestamp()) * 10**9 + digits


def fetch(one: Object, target: Path, *, stopped: Callable[[], bool] = lambda: False) -> None:
    """Write the content of an object to a file. stopped: whether nobody wants it any more; it stays half written then.

    Raises DocumentError, as `Bucket.parts` does, and OSError if it cannot be written.
    """
    with target.open("wb") as file:
        for part in Bucket(one.url).parts(one):
            if stopped():
                return
            file.write(part)


def sha256(one: Object) -> str:
    """Return the checksum of the content of an object. Raises DocumentError, as `Bucket.parts` does."""
    digest = hashlib.sha256()
    for part in Bucket(one.url).parts(one):
        digest.update(part)
    return digest.hexdigest()
