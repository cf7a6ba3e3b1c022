"""The maker of zstd:chunked blobs, as readers rely on it: two readings of one blob, and the tar from its parts."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import zstandard

from tests.chunked import PREFIX, chunked_layer

FILES = {"usr/empty": b"", "usr/small": b"s" * 700, "usr/large": bytes(range(256)) * 40, "usr/zeros": bytes(9300)}


def archive(path: Path) -> bytes:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("usr"))
        for name, data in FILES.items():
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(data), {"SCHILY.xattr.user.a": "1"}
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("usr/l\udcff")
        link.type, link.linkname = tarfile.SYMTYPE, "small"
        tar.addfile(link)
    return path.read_bytes()


def hidden(blob: bytes, where: str) -> bytes:
    offset, packed, size = map(int, where.split(":")[:3])
    data = zstandard.decompress(blob[offset : offset + packed])
    assert len(data) == size
    return data


def test_both_readings_of_a_blob_give_the_same_tar(tmp_path: Path) -> None:
    tar = archive(tmp_path / "tar")
    layer = chunked_layer(tmp_path / "tar", tmp_path / "blob", chunk=4096)
    blob = (tmp_path / "blob").read_bytes()
    assert zstandard.ZstdDecompressor().stream_reader(blob, read_across_frames=True).readall() == tar
    assert layer.diff_id.hex == hashlib.sha256(tar).hexdigest()
    notes = layer.blob.annotations
    toc = json.loads(hidden(blob, notes[f"{PREFIX}manifest-position"]))
    contents = {entry["name"]: content(blob, toc["entries"], entry) for entry in toc["entries"] if "digest" in entry}
    assert contents == {name: data for name, data in FILES.items() if data}
    parts = []
    for line in hidden(blob, notes[f"{PREFIX}tarsplit-position"]).splitlines():
        part = json.loads(line)
        parts.append(base64.b64decode(part["payload"]) if part["type"] == 2 else contents.get(part.get("name"), b""))
    assert b"".join(parts) == tar


def content(blob: bytes, entries: list[dict[str, Any]], entry: dict[str, Any]) -> bytes:
    """From the chunks: each begins where it says, and ends where the next begins."""
    chunks = [entry, *(other for other in entries if other["type"] == "chunk" and other["name"] == entry["name"])]
    ends = [chunk["offset"] for chunk in chunks[1:]] + [entry["endOffset"]]
    pieces: list[bytes] = []
    for chunk, end in zip(chunks, ends, strict=True):
        data = zstandard.decompress(blob[chunk["offset"] : end])
        assert chunk.get("chunkDigest", entry["digest"]) == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert (chunk.get("chunkType") == "zeros") == (not any(data))
        assert len(b"".join(pieces)) == chunk.get("chunkOffset", 0)
        pieces.append(data)
    assert f"sha256:{hashlib.sha256(b''.join(pieces)).hexdigest()}" == entry["digest"]
    return b"".join(pieces)
