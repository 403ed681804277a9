"""ZIP archives, whose files are members, as those of a folder are documents."""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from visret.documents import languages
from visret.documents.document import Content, Document, Member
from visret.documents.members import MAX_MEMBER_BYTES, Unpacking, safe_member_name
from visret.errors import DocumentError, PasswordRequired
from visret.types import Loss

PIECE = 1 << 20
_MAX_SPENT = 2 * MAX_MEMBER_BYTES  # bytes unpacked: those of one bomb, and those that may be kept
_NAMED = 10  # files left out that are named
_HELP = "unpack it and add the files"
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of a member
BROKEN = (  # what zipfile raises on damaged members, and on those it has no method or password for
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError),
    *(NotImplementedError, LookupError),
)


def zip_file(path: Path) -> zipfile.ZipFile:
    """Open the archive in a file. Raises DocumentError where there is none."""
    try:
        return zipfile.ZipFile(path)
    except BROKEN as error:
        kind = path.suffix[1:].upper()
        with path.open("rb") as file:
            damaged = file.read(4) == b"PK\3\4"
        what = f"is a damaged or incomplete {kind} file" if damaged else f"is not a valid {kind} file"
        raise DocumentError(path, f"{what} ({error}); copy or download it again") from error


def opened(path: Path, password: str | None) -> Archive:
    """Open the archive in a file. Raises PasswordRequired where nothing in it can be read without one."""
    archive = zip_file(path)
    try:
        return Archive(path, archive, password)
    except BaseException:
        archive.close()
        raise


class Archive(Document):
    """A ZIP archive, which has members but no pages. Hidden files and links are left out, as in a folder."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, password: str | None) -> None:
        super().__init__(path)
        self._archive = archive
        self._password = password.encode() if password else None
        files = [info for info in archive.infolist() if not info.is_dir()]
        if not files:
            raise DocumentError(path, "is an archive that holds no files")
        self._check_password(files)
        names = _names(files)
        self._files = sorted((name, number, files[number]) for number, name in enumerate(names) if _is_shown(name))

    def __len__(self) -> int:
        return 0

    def close(self) -> None:
        """Close the file; no member can be unpacked afterwards."""
        self._archive.close()

    def members(self, folder: Path) -> Iterator[Member]:
        """Yield the files in the archive, by name. No more is unpacked than fits, whatever sizes the archive claims."""
        unpacking, reading = Unpacking(folder, self.lost), _Unpacker(self._archive, self._password)
        for name, _, info in self._files:
            if _is_special(info):
                reading.left_out.append((name, "is a link"))
            elif info.file_size > MAX_MEMBER_BYTES:
                reading.left_out.append((name, "is too large"))
            elif reading.spent > _MAX_SPENT:
                reading.left_out.append((name, "lies beyond the limit of unpacked bytes"))
            else:
                found = unpacking.add(name, reading.pieces(name, info))
                if found and not reading.failed:
                    yield found
                elif found:
                    found.file.unlink()
        unpacking.done()
        self.lost += reading.losses()

    def _read(self, number: int, **_: object) -> Content:
        raise DocumentError(self.path, "is an archive, which has no pages", page=number)

    def _check_password(self, files: list[zipfile.ZipInfo]) -> None:
        if not all(info.flag_bits & _ENCRYPTED for info in files):
            return
        if self._password is None:
            raise PasswordRequired(self.path, "is encrypted: give its password, or unpack it and add the files")
        try:
            with self._archive.open(min(files, key=lambda info: info.file_size), pwd=self._password) as member:
                member.read(1)
        except RuntimeError as error:  # NotImplementedError too, for a way of encrypting that zipfile does not know
            if isinstance(error, NotImplementedError):
                raise DocumentError(self.path, f"is encrypted in a way that visret cannot read; {_HELP}") from error
            raise PasswordRequired(self.path, "is encrypted, and the password is wrong") from error
        except BROKEN:
            return


class _Unpacker:
    """The unpacking of members, and what went wrong with it.

    spent: bytes unpacked so far, kept or not. failed: whether the last member failed. left_out: the name of each member
    that was left out, and why.
    """

    def __init__(self, archive: zipfile.ZipFile, password: bytes | None) -> None:
        self._archive, self._password = archive, password
        self.spent, self.failed = 0, False
        self.left_out: list[tuple[str, str]] = []

    def pieces(self, name: str, info: zipfile.ZipInfo) -> Iterator[bytes]:
        self.failed = False
        try:
            with self._archive.open(info, pwd=self._password) as member:
                while piece := member.read(PIECE):
                    self.spent += len(piece)
                    yield piece
        except BROKEN as error:
            self.failed = True
            self.left_out.append((name, _reason(error)))

    def losses(self) -> Iterator[Loss]:
        for name, reason in self.left_out[:_NAMED]:
            yield Loss(f"{safe_member_name(name)[-60:]!r} in it, which {reason}", _HELP)
        if (more := len(self.left_out) - _NAMED) > 0:
            yield Loss(f"{more:,} more files in it, which cannot be unpacked", _HELP)


def _names(files: list[zipfile.ZipInfo]) -> list[str]:
    """Return the names of the files. Names not marked as UTF-8 are taken to be in one encoding, which is guessed."""
    old = [info.orig_filename.encode("cp437", "replace") for info in files if not info.flag_bits & _UTF8]
    encoding = _encoding(b"\n".join(name for name in old if not name.isascii()))
    return [
        info.orig_filename
        if info.flag_bits & _UTF8
        else info.orig_filename.encode("cp437", "replace").decode(encoding, "replace")
        for info in files
    ]


def _encoding(names: bytes) -> str:
    try:
        names.decode()
    except UnicodeDecodeError:
        return languages.encoding_of(names) or "cp437"
    return "utf-8"


def _is_shown(name: str) -> bool:
    """Return whether a folder would show the file: it is not hidden, and no temporary file of Office or macOS."""
    parts = name.replace("\\", "/").split("/")
    return not any((part.startswith((".", "~$")) and part not in (".", "..")) or part == "__MACOSX" for part in parts)


def _is_special(info: zipfile.ZipInfo) -> bool:
    """Return whether a member is a link or a device, not a file."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    return info.create_system == 3 and kind not in (0, stat.S_IFREG)


def _reason(error: Exception) -> str:
    if isinstance(error, NotImplementedError):
        return "is packed or encrypted in a way that visret cannot read"
    if isinstance(error, RuntimeError):
        return "is encrypted"
    return f"is damaged ({error})"
