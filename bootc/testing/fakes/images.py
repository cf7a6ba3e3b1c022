"""Fake images: what a store and a deployer need of one, made in a moment."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from attrs import frozen

from bootc import platform
from bootc.image import Descriptor, Digest, Image, ImageReference, Layer
from bootc.system.initramfs import MARKER, VERSION
from bootc.testing.fakes.layers import FakeLayer, fold
from bootc.testing.fakes.streams import Fault, MemoryStreams
from bootc.testing.trees import NormalTree

KERNEL_VERSION = "6.1.0-fake"
MODULES = f"usr/lib/modules/{KERNEL_VERSION}"
REFERENCE = ImageReference.of("registry.example/os:latest")

_LAYER, _MANIFEST = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_DIRECTORIES = (
    *("boot", "dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "sysroot", "usr", "var"),
    *("usr/bin", "usr/lib", "usr/lib/modules", MODULES, "usr/share", "var/lib", "var/log"),
)
_LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin", "ostree": "sysroot/ostree"}


@frozen(slots=False)
class FakeImage:
    """An image and its layers, which are served uncompressed."""

    image: Image
    layers: tuple[FakeLayer, ...]

    @cached_property
    def tree(self) -> NormalTree:
        """The tree that it shows."""
        return fold(self.layers)

    def streams(self, faults: Mapping[Digest, Fault] | None = None) -> MemoryStreams:
        """Its layers, from memory."""
        return MemoryStreams.of(self.layers, faults)

    @property
    def kernel(self) -> bytes:
        """Content of its kernel, then of its initramfs."""
        contents = {entry.member.name: entry.member.data for layer in self.layers for entry in layer.entries}
        return b"".join(contents[f"{MODULES}/{name}".encode()] for name in ("vmlinuz", "initramfs.img"))


def os_image(
    version: str = "1",
    *more: FakeLayer,
    reference: ImageReference = REFERENCE,
    labels: Mapping[str, str] | None = None,
) -> FakeImage:
    """A bootable image: a layer that all versions share, one with this version's kernel, and `more`."""
    named = {"containers.bootc": "1", "org.opencontainers.image.version": version, **(labels or {})}
    return image_of((base_layer(), version_layer(version), *more), reference, named)


def base_layer() -> FakeLayer:
    """Directories, a first /etc and /var, and what says that the initramfs can mount the root by a plan."""
    layer = FakeLayer().directories(*_DIRECTORIES, *_for_programs()).directory("tmp", mode=0o1777)
    for name, target in _LINKS.items():
        layer.symlink(name, target)
    parents = [str(path) for path in reversed(MARKER.parents) if len(path.parts) > 2]
    layer.directories(*parents).file(str(MARKER), b"%d\n" % VERSION)
    layer.file("usr/bin/tool", b"#!/bin/sh\n", mode=0o755).file("usr/lib/shared", b"the same in all versions\n" * 999)
    layer.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n").file("etc/kept", b"shipped\n", mode=0o640, gid=4)
    layer.directory("var/lib/data", mode=0o750, uid=7, gid=8)
    return layer.file("var/lib/data/file", b"initial\n", mode=0o640, uid=7, gid=8)


def version_layer(version: str) -> FakeLayer:
    """What differs between versions."""
    kernel, initramfs = (f"{kind} {version}\n".encode() * 50 for kind in ("kernel", "initramfs"))
    layer = FakeLayer().file(f"{MODULES}/vmlinuz", kernel).file(f"{MODULES}/initramfs.img", initramfs)
    layer.file("usr/lib/os-release", f'ID=fake\nPRETTY_NAME="Fake System {version}"\n'.encode())
    layer.file("usr/lib/version", version.encode()).file("etc/version", f"image {version}\n".encode())
    return layer.file(f"etc/only-{version}", version.encode())


def image_of(layers: Sequence[FakeLayer], reference: ImageReference, labels: Mapping[str, str]) -> FakeImage:
    """An image of these layers, lowest first."""
    blobs = [Descriptor(_LAYER, layer.diff_id, len(layer.data)) for layer in layers]
    config = {
        "architecture": platform.current().architecture,
        "os": "linux",
        "created": "2026-01-02T03:04:05Z",
        "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [str(blob.digest) for blob in blobs]},
    }
    raw = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": str(_digest(raw)), "size": len(raw)},
        "layers": [{"mediaType": blob.media_type, "digest": str(blob.digest), "size": blob.size} for blob in blobs],
    }
    served = json.dumps(manifest).encode()
    image = Image(
        _digest(served),
        served,
        raw,
        reference=reference,
        top_digest=_digest(served),
        layers=tuple(Layer(blob, blob.digest, blob) for blob in blobs),
        verdict="accepted by the test",
    )
    return FakeImage(image, tuple(layers))


def _digest(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def _for_programs() -> tuple[str, ...]:
    """Directories over which this machine's Python is mounted, where a backend must run inside (see `FakeMachine`)."""
    parents = {parent for path in python_directories() for parent in (path, *path.parents) if parent != Path("/")}
    present = {Path("/", name) for name in (*_DIRECTORIES, "tmp")}
    return tuple(str(path).lstrip("/") for path in sorted(parents - present))


def python_directories() -> tuple[Path, ...]:
    """Where Python and what it imports lie on this machine, beyond /usr and /tmp."""
    named = {Path(entry).resolve() for entry in (sys.prefix, sys.base_prefix, *sys.path) if entry}
    found = {path for path in named if path.is_dir() and path.parts[1:2] not in (("usr",), ("tmp",))}
    return tuple(sorted(path for path in found if not found.intersection(path.parents)))
