"""ZIP archives: the files in them are members, whatever the archive claims; hostile ones cost themselves."""

import io
import struct
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest

from visret import documents
from visret.documents import archives, members
from visret.errors import DocumentError, PasswordRequired


def packed(files, **settings) -> bytes:
    data = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, **settings) as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, content in files:
            archive.writestr(name, content)
    return data.getvalue()


def unpacked(data: bytes, folder: Path, password=None):
    """The members by name, with what is in them, and the losses."""
    path = folder / "a.zip"
    path.write_bytes(data)
    with documents.open_document(path, password=password) as archive, tempfile.TemporaryDirectory() as where:
        assert len(archive) == 0
        found = {}
        for member in archive.members(Path(where)):
            assert member.file.parent == Path(where)
            assert member.name not in found
            found[member.name] = member.file.read_bytes()
            member.file.unlink()  # as the caller does before it asks for the next
        assert not list(Path(where).iterdir())
        return found, [loss.what for loss in archive.lost]


def test_the_files_of_an_archive_are_members_in_the_order_of_their_names(tmp_path):
    found, lost = unpacked(packed([("b.txt", "two"), ("a/c.txt", "three"), ("a/", ""), ("a.txt", "one")]), tmp_path)
    assert list(found.items()) == [("a.txt", b"one"), ("a/c.txt", b"three"), ("b.txt", b"two")]
    assert not lost


def test_what_a_folder_would_not_show_is_left_out(tmp_path):
    hidden = ["__MACOSX/a.pdf", ".hidden.txt", "d/.git/x.txt", "~$a.docx"]
    found, lost = unpacked(packed([(name, "x") for name in [*hidden, "a.txt"]]), tmp_path)
    assert list(found) == ["a.txt"]
    assert not lost


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "C:\\x\\y.txt", "..\\..\\x.txt", "x/../y.txt", "l" * 400, "con.txt"]
)
def test_no_name_leads_out_of_the_folder(name, tmp_path):
    ((found, content),) = unpacked(packed([(name, "words")]), tmp_path)[0].items()
    assert content == b"words"
    assert ".." not in found.split("/")
    assert not found.startswith("/")
    assert "\\" not in found


def test_files_of_one_name_are_both_there(tmp_path):
    found, _ = unpacked(packed([("a.txt", "one"), ("a.txt", "two"), ("A.TXT", "three")]), tmp_path)
    assert sorted(found.values()) == [b"one", b"three", b"two"]


def test_links_are_named_and_not_followed(tmp_path):
    link = zipfile.ZipInfo("link.txt")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    found, lost = unpacked(packed([(link, "/etc/passwd"), ("a.txt", "x")]), tmp_path)
    assert list(found) == ["a.txt"]
    assert lost == ["'link.txt' in it, which is a link"]


def named_in(name: str, encoding: str) -> bytes:
    """An archive that does not say in which encoding its names are."""
    raw = name.encode(encoding)
    stand_in = "X" * len(raw)
    return packed([(stand_in, "x")]).replace(stand_in.encode(), raw)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("Größe Übersicht.txt", "cp850"),
        ("Größe.txt", "cp437"),
        ("Größe.txt", "cp1252"),
        ("Größe.txt", "utf-8"),
        ("паром и лодка.txt", "cp866"),
        ("渡轮停航通知.txt", "gbk"),
        ("時刻表のお知らせ.txt", "cp932"),
    ],
)
def test_names_in_old_encodings(name, encoding, tmp_path):
    found, _ = unpacked(named_in(name, encoding), tmp_path)
    assert list(found) == [name]


def test_a_damaged_file_costs_itself(tmp_path):
    data = bytearray(packed([("a.txt", "aaa" * 1000), ("b.txt", "bbb" * 1000)]))
    data[45] ^= 0xFF
    found, (lost,) = unpacked(bytes(data), tmp_path)
    assert list(found) == ["b.txt"]
    assert lost.startswith("'a.txt' in it, which is damaged")


def bent(data: bytes, size: int) -> bytes:
    """The archive with another size in its directory, of its first file."""
    place = data.index(b"PK\1\2")
    return data[: place + 24] + struct.pack("<I", size) + data[place + 28 :]


@pytest.mark.parametrize("claimed", [10, 900, 1 << 31])
def test_what_a_header_says_of_sizes_is_not_believed(claimed, tmp_path):
    data = bent(packed([("big.txt", b"0" * 5_000_000), ("ok.txt", "ok")]), claimed)
    found, (lost,) = unpacked(data, tmp_path)
    assert list(found) == ["ok.txt"]
    assert lost.startswith("'big.txt' in it")


@pytest.fixture
def small_bounds(monkeypatch):
    for module in (archives, members):
        monkeypatch.setattr(module, "MAX_MEMBER_BYTES", 3 << 20)
    monkeypatch.setattr(archives, "_MAX_SPENT", 4 << 20)


def test_a_bomb_is_not_unpacked_and_costs_what_comes_after_it_nothing(small_bounds, tmp_path):
    found, (lost,) = unpacked(packed([("bomb.bin", bytes(64 << 20)), ("words.txt", "words")]), tmp_path)
    assert found == {"words.txt": b"words"}
    assert lost == "'bomb.bin' in it, which is too large"


def test_no_more_is_unpacked_of_all_of_them_than_fits(small_bounds, tmp_path):
    found, lost = unpacked(packed([(f"{n}.bin", bytes(2 << 20)) for n in range(9)]), tmp_path)
    assert list(found) == ["0.bin"]
    assert len(lost) == 7
    assert "'8.bin' in it, which lies beyond the limit of unpacked bytes" in lost


def test_as_many_files_as_fit_and_the_number_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "MAX_MEMBERS", 50)
    found, (lost,) = unpacked(packed([(f"{n:05}.txt", "x") for n in range(70)]), tmp_path)
    assert len(found) == 50
    assert lost.startswith("20 of the files inside it")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no archive at all", "is not a valid ZIP file .*; copy or download it again"),
        (packed([("a.txt", "aaa" * 1000)])[:-30], "is a damaged or incomplete ZIP file .*; copy or download it again"),
        (packed([]), "is an archive that holds no files"),
        (packed([("d/", "")]), "is an archive that holds no files"),
    ],
    ids=["no archive", "cut off", "empty", "folders alone"],  # the bytes hold the time, and two workers need one name
)
def test_what_cannot_be_unpacked_says_why(data, said, tmp_path):
    with pytest.raises(DocumentError, match=said):
        unpacked(data, tmp_path)


def encrypted(files, password: bytes) -> bytes:
    """An archive in the old encryption of PKWARE, which zipfile reads and does not write."""
    data, directory = bytearray(), bytearray()
    for name, content in files:
        crc = zlib.crc32(content)
        keys = Keys(password)
        sealed = keys.encrypt(bytes(11) + bytes([crc >> 24]) + content)
        fields = struct.pack("<HHHHHIII", 20, 1, 0, 0, 33, crc, len(sealed), len(content))
        start = len(data)
        data += b"PK\3\4" + fields + struct.pack("<HH", len(name), 0) + name.encode() + sealed
        directory += (
            b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, start)
        )
        directory += name.encode()
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(directory), len(data), 0)
    return bytes(data + directory) + b"PK\5\6" + end


class Keys:
    """The three keys of the old encryption (PKWARE's APPNOTE, 6.1)."""

    def __init__(self, password: bytes) -> None:
        self.keys = [0x12345678, 0x23456789, 0x34567890]
        for byte in password:
            self.update(byte)

    def update(self, byte: int) -> None:
        one, two, three = self.keys
        one = crc_step(one, byte)
        two = ((two + (one & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        self.keys = [one, two, crc_step(three, two >> 24)]

    def encrypt(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            mixed = (self.keys[2] | 2) & 0xFFFF
            out.append(byte ^ ((mixed * (mixed ^ 1)) >> 8 & 0xFF))
            self.update(byte)
        return bytes(out)


def crc_step(crc: int, byte: int) -> int:
    return zlib.crc32(bytes([byte]), crc ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def test_an_encrypted_archive_asks_for_its_password(tmp_path):
    data = encrypted([("a.txt", b"The winch is repaired."), ("b.txt", b"The capstan too.")], b"swordfish")
    with pytest.raises(PasswordRequired, match="give its password"):
        unpacked(data, tmp_path)
    with pytest.raises(PasswordRequired, match="the password is wrong"):
        unpacked(data, tmp_path, "halibut")
    found, lost = unpacked(data, tmp_path, "swordfish")
    assert found == {"a.txt": b"The winch is repaired.", "b.txt": b"The capstan too."}
    assert not lost


def test_an_encrypted_file_among_others_is_named(tmp_path):
    data = bytearray(packed([("open.txt", "words"), ("sealed.txt", "more")]))
    place = data.rindex(b"PK\1\2")
    data[place + 8] |= 1
    data[data.rindex(b"PK\3\4") + 6] |= 1
    found, (lost,) = unpacked(bytes(data), tmp_path)
    assert list(found) == ["open.txt"]
    assert lost == "'sealed.txt' in it, which is encrypted"
