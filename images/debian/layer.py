"""Packs the changes of a tree into a layer of an OCI image: `tar+gzip`, with extended attributes.

Format: the image-spec's "Image Layer Filesystem Changeset"; archives in pax form, removals as `.wh.` files.
"""

import hashlib
import os
import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
HEX = 64
"""The length of a SHA-256 digest in hexadecimal, which names blobs."""
# Modification times only: access and change times would make each packing another layer.
PAX = "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"

State = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layer:
    """A packed layer: the compressed file, and the digests of both of its forms."""

    blob: Path
    digest: str
    size: int
    diff_id: str
    comment: str


def state_of(tree: Path) -> State:
    """What a tree looks like, path by path; two states tell which paths changed, whatever their modification times."""
    return dict(_walk(tree, ""))


def _walk(tree: Path, folder: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    with os.scandir(tree / folder) as entries:
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            status = entry.stat(follow_symlinks=False)
            yield name, (status.st_ino, status.st_ctime_ns, status.st_mode, status.st_size)
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(tree, name)


def pack(tree: Path, before: State, folder: Path, comment: str, mtime: int) -> Layer:
    """Pack what differs from `before` (empty for the whole tree) into a blob in `folder`, named by its digest.

    `mtime` (seconds) is the latest modification time that the layer shows, so that equal trees give equal layers.
    """
    tree, folder = tree.resolve(), folder.resolve()
    after = state_of(tree)
    changed = sorted(name for name, status in after.items() if before.get(name) != status)
    removed = [name for name in sorted(before) if name not in after and os.path.dirname(name) in {"", *after}]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        whiteouts = [os.path.join(os.path.dirname(name), f".wh.{os.path.basename(name)}") for name in removed]
        for name in whiteouts:
            path = Path(scratch, "whiteouts", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        Path(scratch, "whiteouts").mkdir(exist_ok=True)
        lists = [_list(Path(scratch, "removed"), whiteouts), _list(Path(scratch, "changed"), changed)]
        command = [
            *("tar", "--create", "--format=posix", PAX, "--numeric-owner"),
            *("--xattrs", "--xattrs-include=*", "--clamp-mtime", f"--mtime=@{mtime}"),
            *("--no-recursion", "--null", "--verbatim-files-from"),
            *("-C", f"{scratch}/whiteouts", f"--files-from={lists[0]}", "-C", str(tree), f"--files-from={lists[1]}"),
        ]
        packed = _compress(command, Path(scratch, "blob"), comment)
        return replace(packed, blob=packed.blob.rename(folder / packed.digest.removeprefix("sha256:")))


def _list(path: Path, names: Iterable[str]) -> Path:
    path.write_bytes(b"".join(os.fsencode(name) + b"\0" for name in names))
    return path


def _compress(command: Sequence[str], blob: Path, comment: str) -> Layer:
    plain, packed = hashlib.sha256(), hashlib.sha256()
    gzip = zlib.compressobj(6, wbits=31)
    with blob.open("wb") as out, subprocess.Popen(command, stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        while chunk := tar.stdout.read(1 << 20):
            plain.update(chunk)
            _write(out, gzip.compress(chunk), packed)
        _write(out, gzip.flush(), packed)
    if tar.returncode:
        raise subprocess.CalledProcessError(tar.returncode, list(command))
    return Layer(blob, f"sha256:{packed.hexdigest()}", blob.stat().st_size, f"sha256:{plain.hexdigest()}", comment)


def _write(out: "IO[bytes]", data: bytes, digest: "hashlib._Hash") -> None:
    digest.update(data)
    out.write(data)


def unpack(layers: Iterable[Layer], tree: Path) -> None:
    """Unpack layers that only add or replace files, lowest first, into a tree."""
    for layer in layers:
        options = ["--extract", "--gzip", "--numeric-owner", "--same-permissions", "--xattrs", "--xattrs-include=*"]
        subprocess.run(["tar", *options, f"--file={layer.blob}", "-C", str(tree)], check=True)
