"""Finding members of a tar file without unpacking it; Python's tarfile says what is right."""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from bootc_registry.tar_index import index_tar
from hypothesis import given, settings
from hypothesis import strategies as st

from bootc.errors import FetchError, ProtocolError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=120).filter(
    lambda name: name not in (".", "..")
)
FILES = st.dictionaries(NAMES, st.binary(max_size=1500), max_size=6)


def _tar(files: dict[str, bytes], format: int, **header: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in header.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _read(data: bytes) -> dict[str, bytes]:
    descriptor = os.memfd_create("tar")
    try:
        os.write(descriptor, data)
        members = index_tar(descriptor, len(data), "image")
        return {name: os.pread(descriptor, part.size, part.offset) for name, part in members.items()}
    finally:
        os.close(descriptor)


@settings(deadline=None)
@given(FILES, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_members_are_found_where_they_are(files: dict[str, bytes], format: int) -> None:
    assert _read(_tar(files, format)) == files


@settings(deadline=None)
@given(FILES, st.integers(0), st.integers(1, 255))
def test_a_changed_byte_never_breaks_the_reader(files: dict[str, bytes], place: int, change: int) -> None:
    data = bytearray(_tar(files, tarfile.PAX_FORMAT))
    data[place % len(data)] ^= change
    with suppress(FetchError):
        _read(bytes(data))


def test_long_names_are_whole() -> None:
    name = f"blobs/sha512/{'ab' * 64}"
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        assert _read(_tar({name: b"x"}, format)) == {name: b"x"}
    split = f"{'a' * 90}/{'b' * 90}"
    assert _read(_tar({split: b"x"}, tarfile.USTAR_FORMAT)) == {split: b"x"}


def test_directories_are_passed_over() -> None:
    assert _read(_tar({"blobs": b""}, tarfile.PAX_FORMAT, type=tarfile.DIRTYPE)) == {}


@pytest.mark.parametrize("type", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(type: bytes) -> None:
    with pytest.raises(ProtocolError, match="something else"):
        _read(_tar({"index.json": b""}, tarfile.PAX_FORMAT, type=type, linkname="/etc/shadow"))


def test_a_name_that_comes_twice_is_refused() -> None:
    one, two = (_tar({name: b"x"}, tarfile.PAX_FORMAT)[:1024] for name in ("a", "./a"))
    with pytest.raises(ProtocolError, match="twice"):
        _read(one + two + bytes(1024))


@pytest.mark.parametrize(
    "records",
    [
        b"9 size=1\n",
        b"x",
        b"7 a=b\n",
        b"999 a=b\n",
        b"5 ab\n",
        b"0 a=b\n",
        b"11 size=-1\n",
        b"13 size=0x10\n",
        b"6 =\n\n",
    ],
)
def test_extended_headers_are_read_strictly(records: bytes) -> None:
    member = tarfile.TarInfo("././@PaxHeader")
    member.type, member.size = tarfile.XHDTYPE, len(records)
    header = member.tobuf(tarfile.USTAR_FORMAT)
    data = header + records.ljust(512, b"\0") + _tar({"a": b""}, tarfile.USTAR_FORMAT)
    if records == b"9 size=1\n":
        assert _read(data + bytes(1024)) == {"a": b"\0"}
    else:
        with pytest.raises(ProtocolError):
            _read(data)


def test_sizes_beyond_octal_digits_are_read(tmp_path: Path) -> None:
    member = tarfile.TarInfo("big")
    member.size = 9 << 30
    path = tmp_path / "big.tar"
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, 512 + member.size + 1024)
    with path.open("rb") as file:
        (found,) = index_tar(file.fileno(), path.stat().st_size, "image").values()
    assert (found.offset, found.size) == (512, 9 << 30)
