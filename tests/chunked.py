"""Layers as zstd:chunked blobs, in the form that containers/storage writes since 1.55.

Debian's podman and buildah (4.3 and 1.28) write an older one, without the tar-split from which the layer's exact tar is
put together; so the blobs are made here. Only the CRC-64 of each file in the tar-split is left out: readers of this
form check the whole tar instead. Files are cut at fixed places, not by content.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import zstandard
from attrs import define, field

from bootc.image import Descriptor, Digest, Layer

TAR_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
PREFIX = "io.github.containers.zstd-chunked."
CHUNK = 64 << 10
"""bytes of content in one frame, at most; containers/storage cuts by a rolling checksum, at 64 KiB on average"""

_SKIPPABLE = 0x184D2A50
_MAGIC = b"GNUlInUx"
_TYPES = {
    tarfile.REGTYPE: "reg",
    tarfile.AREGTYPE: "reg",
    tarfile.LNKTYPE: "hardlink",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "dir",
    tarfile.FIFOTYPE: "fifo",
}
_XATTR = "SCHILY.xattr."
_ZEROS = 1024
"""bytes: shorter runs of zeros are chunks like others"""


def chunked_layer(tar: Path, blob: Path, *, level: int = 3, chunk: int = CHUNK) -> Layer:
    """Write the blob of a tar archive; the layer's descriptor has the annotations that a manifest must repeat."""
    with tar.open("rb") as source, blob.open("wb") as sink:
        annotations = _Writer(source, _Blob(sink, level), chunk).write()
    descriptor = Descriptor(TAR_ZSTD, _digest_of(blob), blob.stat().st_size, annotations)
    return Layer(descriptor, _digest_of(tar), descriptor)


def _digest_of(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())


@define
class _Blob:
    """The blob as it grows, one frame after the other."""

    sink: BinaryIO
    level: int
    position: int = 0

    def frame(self, data: bytes) -> None:
        """What a decompressor gives back."""
        self._write(self._compressed(data))

    def hidden(self, data: bytes) -> tuple[str, str]:
        """What a decompressor passes over: its `offset:compressed length:length`, and the compressed data's digest."""
        packed = self._compressed(data)
        self.skippable(packed)
        where = f"{self.position - len(packed)}:{len(packed)}:{len(data)}"
        return where, f"sha256:{hashlib.sha256(packed).hexdigest()}"

    def skippable(self, data: bytes) -> None:
        """A skippable frame (RFC 8878, 3.1.2)."""
        self._write(struct.pack("<II", _SKIPPABLE, len(data)) + data)

    def _compressed(self, data: bytes) -> bytes:
        return zstandard.ZstdCompressor(self.level).compress(data)

    def _write(self, data: bytes) -> None:
        self.sink.write(data)
        self.position += len(data)


@define
class _Writer:
    """Writes frames, and on the way the two tables that come after them."""

    source: BinaryIO
    blob: _Blob
    chunk: int
    entries: list[dict[str, Any]] = field(factory=list)
    split: list[dict[str, Any]] = field(factory=list)
    between: bytes = b""
    """headers and padding that are in no frame yet"""
    position: int = 0
    """in the archive: what comes before stands in `split`"""

    def write(self) -> Mapping[str, str]:
        """The whole blob; its annotations."""
        with tarfile.open(fileobj=self.source, mode="r:") as tar:
            for member in tar:
                self._skip_to(member.offset_data)
                self._member(member)
        self._skip_to(None)
        self._flush()
        tar_split, split_digest = self.blob.hidden(b"".join(json.dumps(part).encode() + b"\n" for part in self.split))
        toc = {"version": 1, "entries": self.entries, "tarSplitDigest": split_digest}
        position, digest = self.blob.hidden(json.dumps(toc).encode())
        numbers = [int(number) for where in (f"{position}:1", tar_split) for number in where.split(":")]
        self.blob.skippable(struct.pack("<7Q", *numbers) + _MAGIC)
        return {
            f"{PREFIX}manifest-checksum": digest,
            f"{PREFIX}manifest-position": f"{position}:1",
            f"{PREFIX}tarsplit-position": tar_split,
        }

    def _skip_to(self, end: int | None) -> None:
        """Headers and padding up to `end`, or all that is left."""
        self.source.seek(self.position)
        data = self.source.read() if end is None else self.source.read(end - self.position)
        self.position += len(data)
        self.between += data
        if data:
            self.split.append({"type": 2, "payload": _base64(data), "position": len(self.split)})

    def _flush(self) -> None:
        if self.between:
            self.blob.frame(self.between)
        self.between = b""

    def _member(self, member: tarfile.TarInfo) -> None:
        size = member.size if member.isreg() else 0
        self.split.append({"type": 1, **_name(member), "size": size, "payload": None, "position": len(self.split)})
        entry = _entry(member)
        self.entries.append(entry)
        if size:
            self._flush()
            self._content(size, entry)

    def _content(self, size: int, entry: dict[str, Any]) -> None:
        whole, start = hashlib.sha256(), self.blob.position
        chunks: list[dict[str, Any]] = []
        for offset in range(0, size, self.chunk):
            data = self.source.read(min(self.chunk, size - offset))
            whole.update(data)
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            chunk = {"offset": self.blob.position, "chunkSize": len(data), "chunkDigest": digest}
            if len(data) >= _ZEROS and not any(data):
                chunk["chunkType"] = "zeros"
            chunks.append(chunk | ({"chunkOffset": offset} if offset else {}))
            self.blob.frame(data)
        self.position += size
        entry |= {"digest": f"sha256:{whole.hexdigest()}", "offset": start, "endOffset": self.blob.position}
        if len(chunks) > 1:
            entry |= chunks[0]
            self.entries += [{"type": "chunk", "name": entry["name"], **chunk} for chunk in chunks[1:]]


def _name(member: tarfile.TarInfo) -> dict[str, str]:
    name = member.name.encode("utf-8", "surrogateescape") + (b"/" if member.isdir() else b"")
    try:
        return {"name": name.decode()}
    except UnicodeDecodeError:
        return {"name_raw": _base64(name)}


def _entry(member: tarfile.TarInfo) -> dict[str, Any]:
    moment = datetime.fromtimestamp(int(member.mtime), UTC).isoformat().replace("+00:00", "Z")
    entry: dict[str, Any] = {
        "type": _TYPES[member.type],
        "name": member.name + ("/" if member.isdir() else ""),
        "mode": member.mode,
        "uid": member.uid,
        "gid": member.gid,
        "size": member.size,
        "modtime": moment,
        "accesstime": "0001-01-01T00:00:00Z",
        "changetime": "0001-01-01T00:00:00Z",
    }
    if member.linkname:
        entry["linkName"] = member.linkname
    if member.ischr() or member.isblk():
        entry |= {"devMajor": member.devmajor, "devMinor": member.devminor}
    xattrs = {
        key.removeprefix(_XATTR): _base64(value.encode("utf-8", "surrogateescape"))
        for key, value in member.pax_headers.items()
        if key.startswith(_XATTR)
    }
    return entry | ({"xattrs": xattrs} if xattrs else {})


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
