"""Small images, a sysroot to put them on, and trees in a form that can be compared."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from bootc.durable import DirectoryVolume
from bootc.events import Event
from bootc.hookspec import Context
from bootc.image import Descriptor, Digest, Image, ImageReference, Layer
from bootc.machine import Machine
from bootc.storage import LayerStreams

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
NAME = "registry.example/os:v1"
KERNEL_VERSION = "6.1.0-test"
MODULES = f"usr/lib/modules/{KERNEL_VERSION}"
Normal = Mapping[str, tuple[object, ...]]


class Tar:
    """A layer being written, entry by entry, by Python's own tar library."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: object) -> Tar:
        xattrs = fields.pop("xattrs", {})
        assert isinstance(xattrs, dict)
        entry = tarfile.TarInfo(name)
        entry.type, entry.size = kind, len(data)
        entry.mode, entry.mtime = (0o755 if kind == tarfile.DIRTYPE else 0o644), 1_700_000_000
        for field, value in fields.items():
            setattr(entry, field, value)
        entry.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in xattrs.items()}
        self._tar.addfile(entry, io.BytesIO(data))
        return self

    def directory(self, name: str, **fields: Any) -> Tar:
        return self.add(name, tarfile.DIRTYPE, **fields)

    def symlink(self, name: str, target: str, **fields: Any) -> Tar:
        return self.add(name, tarfile.SYMTYPE, linkname=target, **fields)

    def hardlink(self, name: str, target: str, **fields: Any) -> Tar:
        return self.add(name, tarfile.LNKTYPE, linkname=target, **fields)

    def whiteout(self, name: str) -> Tar:
        path = PurePosixPath(name)
        return self.add(str(path.parent / f".wh.{path.name}"))

    def opaque(self, name: str) -> Tar:
        return self.add(f"{name}/.wh..wh..opq" if name else ".wh..wh..opq")

    @property
    def data(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def digest_of(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def make_image(
    layers: Sequence[bytes],
    name: str = NAME,
    *,
    labels: Mapping[str, str] | None = None,
    level: int | None = None,
    created: str = "2026-01-02T03:04:05Z",
    signature: str | None = None,
) -> Image:
    """An image of these tar archives; `level` is that of gzip, None leaves them uncompressed."""
    blobs = [data if level is None else gzip.compress(data, level, mtime=0) for data in layers]
    media_type = OCI_LAYER if level is None else f"{OCI_LAYER}+gzip"
    descriptors = [Descriptor(media_type, digest_of(blob), len(blob)) for blob in blobs]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": created,
            "config": {"Labels": {"containers.bootc": "1", **(labels or {})}},
            "rootfs": {"type": "layers", "diff_ids": [str(digest_of(data)) for data in layers]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": str(digest_of(config)),
                "size": len(config),
            },
            "layers": [{"mediaType": d.media_type, "digest": str(d.digest), "size": d.size} for d in descriptors],
        }
    ).encode()
    return Image(
        digest_of(manifest),
        manifest,
        config,
        reference=ImageReference.of(name, signature=signature),
        top_digest=None,
        layers=tuple(Layer(d, digest_of(data), d) for d, data in zip(descriptors, layers, strict=True)),
        verdict="accepted by the test",
    )


class Streams(LayerStreams):
    """Layers from memory, by diffID; remembers which were asked for, and checks what was read as the core does."""

    def __init__(self, layers: Iterable[bytes]) -> None:
        self._layers = {digest_of(data): data for data in layers}
        self.opened: list[Digest] = []

    @contextmanager
    def open(self, layer: Layer) -> Iterator[io.BytesIO]:
        self.opened.append(layer.diff_id)
        yield io.BytesIO(self._layers[layer.diff_id])


def make_context(root: Path, events: list[Event] | None = None) -> Context:
    machine = Machine(DirectoryVolume(root), PurePosixPath("ostree/bootc"))
    return Context(machine, (events if events is not None else []).append, lambda: None)


@contextmanager
def mutable_afterwards(root: Path) -> Iterator[Path]:
    """Deployments are immutable; take that back, so that the directory can be removed."""
    try:
        yield root
    finally:
        for deployment in root.glob("ostree/deploy/*/deploy/*"):
            if deployment.is_dir():
                subprocess.run(["chattr", "-i", deployment], check=True)


def normal_form(root: Path) -> Normal:
    """Every path with kind, permission bits, owner, attributes and content; the order and the times do not count."""
    found = {}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(directory, name)
            found[str(path.relative_to(root))] = _state(path)
    found["."] = _state(root)
    return found


def _state(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    content: object = None
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        content = path.read_bytes()
    bits = None if stat.S_ISLNK(status.st_mode) else oct(stat.S_IMODE(status.st_mode))
    names = (name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("trusted.overlay."))
    xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    return oct(kind), bits, status.st_uid, status.st_gid, tuple(sorted(xattrs.items())), content


def base_layer(version: str = "1") -> Tar:
    """What an image must have to be deployed, and something of each kind."""
    tar = Tar()
    for name in ("usr", "usr/bin", "usr/lib", "usr/lib/modules", MODULES, "etc", "var", "var/lib", "run", "sysroot"):
        tar.directory(name)
    tar.directory("tmp", mode=0o1777)
    tar.directory("root", mode=0o700)
    tar.add(f"{MODULES}/vmlinuz", data=b"kernel " + version.encode())
    tar.add(f"{MODULES}/initramfs.img", data=b"initramfs " + version.encode())
    tar.add("usr/lib/os-release", data=f'ID=test\nPRETTY_NAME="Test System {version}"\n'.encode())
    tar.symlink("etc/os-release", "../usr/lib/os-release")
    tar.symlink("bin", "usr/bin")
    tar.add("usr/bin/tool", data=b"#!/bin/sh\n", mode=0o4755, xattrs={"user.b": "2", "user.a": "1"})
    tar.hardlink("usr/bin/alias", "usr/bin/tool")
    tar.add("etc/passwd", data=b"root:x:0:0::/root:/bin/sh\n")
    tar.add("etc/default", data=b"shipped\n")
    tar.directory("var/lib/data", mode=0o750, uid=7, gid=8)
    tar.add("var/lib/data/file", data=b"initial\n", mode=0o640, uid=7, gid=8)
    return tar
