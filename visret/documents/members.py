"""Files inside files: the names they may be unpacked under, and the limits on their number and size."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from visret.documents.document import Member
from visret.types import Loss

MAX_MEMBERS = 10_000
MAX_MEMBER_BYTES = 1 << 30  # of all of them together
_MAX_NAME_BYTES = 200  # bytes of a part of a name; file systems allow 255
_FORBIDDEN = '<>:"|?*'  # on Windows
_DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))}


def safe_member_name(raw: str) -> str:
    """Return the name of a member as a path below a folder, with "/".

    The path is never absolute and holds neither ".." nor control characters nor names of Windows devices; it is
    "unnamed" where nothing is left.
    """
    parts = (_safe_part(part) for part in raw.replace("\\", "/").split("/"))
    return "/".join(part for part in parts if part) or "unnamed"


def _safe_part(part: str) -> str:
    plain = unicodedata.normalize("NFC", part)
    plain = "".join("_" if c in _FORBIDDEN else c for c in plain if unicodedata.category(c)[0] != "C")
    plain = plain.strip().rstrip(". ")
    if plain.partition(".")[0].strip().lower() in _DEVICES:
        plain = f"_{plain}"
    return _short(plain)


def _short(part: str) -> str:
    """Shorten a part of a name to what file systems allow; its ending stays, because it says what the file is."""
    if len(part.encode()) <= _MAX_NAME_BYTES:
        return part
    suffix = PurePosixPath(part).suffix
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    return part.encode()[: _MAX_NAME_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix


class Unpacking:
    """A folder that members are written to within the limits, under safe names, of which none is given twice.

    lost: the list to which members that are left out are added.
    """

    def __init__(self, folder: Path, lost: list[Loss]) -> None:
        self._folder, self._lost = folder, lost
        self._taken: set[str] = set()
        self._bytes = 0
        self._beyond: list[str] = []

    def add(self, raw: str, chunks: Iterable[bytes]) -> Member | None:
        """Unpack a member; None where it does not fit, which `done` reports.

        Each chunk is asked for when it is written.
        """
        if len(self._taken) >= MAX_MEMBERS:
            self._beyond.append(raw)
            return None
        name = self._untaken(safe_member_name(raw))
        file = self._folder / f"{len(self._taken)}{PurePosixPath(name).suffix}"  # file systems alter names, not numbers
        if not self._written(file, chunks):
            self._beyond.append(raw)
            return None
        return Member(name, file)

    def done(self) -> None:
        """Report how many members were left out, if any."""
        if not self._beyond:
            return
        some = ", ".join(_quoted(raw) for raw in self._beyond[:3])
        more = f" and {len(self._beyond) - 3:,} more" if len(self._beyond) > 3 else ""
        what = f"{len(self._beyond):,} of the files inside it ({some}{more})"
        most = f"at most {MAX_MEMBERS:,} files and {MAX_MEMBER_BYTES >> 30} GiB are unpacked"
        self._lost.append(Loss(what, f"unpack it and add the files themselves: {most}"))

    def _untaken(self, name: str) -> str:
        """Return the name, with a number if it was given before; some file systems take "A" and "a" for the same."""
        path, n, found = PurePosixPath(name), 1, name
        while found.casefold() in self._taken:
            n += 1
            found = str(path.with_name(f"{path.stem} ({n}){path.suffix}"))
        self._taken.add(found.casefold())
        return found

    def _written(self, file: Path, chunks: Iterable[bytes]) -> bool:
        size = 0
        with file.open("xb") as out:
            for chunk in chunks:
                size += len(chunk)
                if self._bytes + size > MAX_MEMBER_BYTES:
                    break
                out.write(chunk)
        if self._bytes + size > MAX_MEMBER_BYTES:
            file.unlink()
            return False
        self._bytes += size
        return True


def _quoted(raw: str) -> str:
    return repr(safe_member_name(raw)[-60:])
