"""Machine code that was compiled before, kept in the user's cache folder: compiling takes a tenth of a second.

A file has the code of one function for one CPU. It is used only if all that its code depends on is as it was when it
was made: the sources that make it, LLVM, the CPU and what it can do. On POSIX it must also belong to this user, and be
writable by nobody else. Code that is loaded is checked as code that was just compiled (`_check`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

import llvmlite
from llvmlite import binding

from visret.folders import cache_folder

_FOLDER = "machine-code"
_DIGEST = 32  # bytes of a SHA-256


class Kept:
    """The place of one function's code, which may be empty.

    label: the name of its file; one for each path, codec and size of vectors. made_of: what else its code depends on.
    """

    def __init__(self, label: str, *made_of: str) -> None:
        self._name = re.sub("[^a-z0-9]+", "-", label.lower()) + ".o"
        sources = _sources()
        said = "\0".join([sources or "", llvmlite.__version__, str(binding.llvm_version_info), *made_of])
        self._key = hashlib.sha256(said.encode()).digest()
        self._can_keep = sources is not None

    def load(self) -> bytes | None:
        """Return the code; None if there is none, or it was made of something else, or is damaged."""
        if not self._can_keep:
            return None
        with contextlib.suppress(OSError):
            with self._path().open("rb") as file:
                if not _is_own(os.fstat(file.fileno())):
                    return None
                key, digest, code = file.read(_DIGEST), file.read(_DIGEST), file.read()
            if key == self._key and digest == hashlib.sha256(code).digest():
                return code
        return None

    def keep(self, code: bytes) -> None:
        """Write the code, if the folder can be written; nothing but time depends on it."""
        if not self._can_keep:
            return
        with contextlib.suppress(OSError):
            path = self._path()
            path.parent.mkdir(parents=True, exist_ok=True)
            draft, name = tempfile.mkstemp(dir=path.parent)  # which only this user can read or write
            try:
                with os.fdopen(draft, "wb") as file:
                    file.write(self._key + hashlib.sha256(code).digest() + code)
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def _path(self) -> Path:
        return cache_folder() / _FOLDER / self._name


def _is_own(status: os.stat_result) -> bool:
    """Return whether a file belongs to this user, and nobody else can write it; Windows keeps folders apart itself."""
    if os.name == "nt":
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@functools.cache
def _sources() -> str | None:
    """Return the digest of the sources that decide what is compiled; None where they are not files, as in a bundle."""
    here = Path(__file__).parent
    files = [here.parent / "codec.py", *sorted(here.glob("*.py"))]
    try:
        return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    except OSError:
        return None
