"""An image with large layers, written to disk as it is made, and how much memory a command takes at most."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bootc.image import Descriptor, Digest, Image, Layer
from tests.blobs import TAR_GZIP, image_of, layer_of
from tests.integration.sysroots import Layout
from tests.ostree_images import base_layer

_BLOCK = 16 << 20
_SAMPLE_EVERY = 0.02


def add_large_image(layout: Layout, tag: str, size: int) -> Image:
    """A bootable image with two layers of this size: one that cannot be compressed, one that nearly vanishes."""
    base, blob = layer_of(base_layer().data)
    layout.blob(base.descriptor.digest).write_bytes(blob)
    noise, lines = os.urandom(_BLOCK), b"one line of many\n" * (_BLOCK // 17)
    layers = [
        base,
        _write(layout, "usr/lib/noise", size, lambda number: noise[number:] + noise[:number], level=0),
        _write(layout, "usr/lib/lines", size, lambda number: lines[number:], level=1),
    ]
    return layout.add_documents(tag, image_of(layers, f"{layout.folder}:{tag}"))


def _write(layout: Layout, name: str, size: int, block: Callable[[int], bytes], level: int) -> Layer:
    """A gzip blob with one file; nothing of it is held but a block."""
    path, blob, content = layout.folder / "unnamed", hashlib.sha256(), hashlib.sha256()
    packer = zlib.compressobj(level, wbits=31)
    with path.open("wb") as file:
        for piece in _tar(name, size, block):
            content.update(piece)
            packed = packer.compress(piece)
            blob.update(packed)
            file.write(packed)
        packed = packer.flush()
        blob.update(packed)
        file.write(packed)
    digest = Digest("sha256", blob.hexdigest())
    descriptor = Descriptor(TAR_GZIP, digest, path.stat().st_size)
    path.rename(layout.blob(digest))
    return Layer(descriptor, Digest("sha256", content.hexdigest()), descriptor)


def _tar(name: str, size: int, block: Callable[[int], bytes]) -> Iterator[bytes]:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    yield entry.tobuf(tarfile.PAX_FORMAT)
    done, number = 0, 0
    while done < size:
        piece = block(number)[: size - done]
        yield piece
        done, number = done + len(piece), number + 1
    yield bytes(-size % 512 + 1024)


def peak_memory(argv: list[str]) -> Mapping[str, int]:
    """Run a command that must succeed: for each program of its tree the most memory it had, in bytes (VmHWM, proc(5)).

    Memory that a program shares with others, as its libraries, is counted for each of them.
    """
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    peaks: dict[int, tuple[str, int]] = {}
    while process.poll() is None:
        for pid in _tree(process.pid):
            found = _memory(pid)
            if found:
                peaks[pid] = found
        time.sleep(_SAMPLE_EVERY)
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()
    total: dict[str, int] = {}
    for name, size in peaks.values():
        total[name] = max(total.get(name, 0), size)
    return total


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:
            continue
        for child in found:
            yield from _tree(int(child))


def _memory(pid: int) -> tuple[str, int] | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    if "VmHWM" not in fields:  # it has ended, and waits to be looked after
        return None
    return fields["Name"].strip(), int(fields["VmHWM"].split()[0]) << 10
