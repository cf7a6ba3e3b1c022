"""What is written down: the state of the sysroot, and each deployment. JSON, each file with its format.

`format` lists features by what a version that does not know them may still do, as `system.json` of the core does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from attrs import frozen

from bootc.deployment import DeploymentId, KernelArguments
from bootc.durable import DirectoryVolume, Volume
from bootc.errors import ReferenceError, StateError
from bootc.image import Digest, ImageReference, ImportedImage
from bootc.roots.layout import DEPLOYMENT, Layout
from bootc.state import records

_NEWER = "use the newer version of bootc that wrote it"
_FORMAT: Mapping[str, list[str]] = {"compatible": [], "read-only-compatible": [], "incompatible": []}


def read_record(volume: Volume, path: PurePosixPath, hint: str, *, writes: bool = False) -> dict[str, Any] | None:
    """A record whose format this version may read (and write). Raises StateError."""
    document = records.read(volume, path, hint)
    features = records.table(document or {}, "format", path, hint)
    for key in ("incompatible", *(["read-only-compatible"] if writes else [])):
        if unknown := records.texts(features, key, path, hint):
            raise StateError(str(path), f"uses what this version does not know: {', '.join(unknown)}", _NEWER)
    return document


def write_record(volume: Volume, path: PurePosixPath, document: Mapping[str, object]) -> None:
    """Replace a record, in the format of this version."""
    records.write(volume, path, {"format": _FORMAT, **document})


def state_hint(layout: Layout) -> str:
    """What to do about a state that is damaged or missing."""
    return f'write {{"number": N, "order": [IDs of {layout.deployments}, the default first]}} to it'


@frozen
class RootState:
    """The one record whose replacement changes what is booted next."""

    number: int = 0
    """the last that was given out"""
    order: tuple[DeploymentId, ...] = ()
    """finished deployments, the default first"""
    pinned: frozenset[DeploymentId] = frozenset()

    @classmethod
    def read(cls, volume: DirectoryVolume, layout: Layout) -> RootState | None:
        """The state; None if there is none. Raises StateError."""
        path = layout.state
        hint = state_hint(layout)
        document = read_record(volume, path, hint)
        if document is None:
            return None
        order = records.texts(document, "order", path, hint)
        pinned = records.texts(document, "pinned", path, hint)
        number = document.get("number")
        if not isinstance(number, int) or number < 0:
            raise StateError(str(path), "damaged: 'number' is no number", hint)
        return cls(number, tuple(map(DeploymentId, dict.fromkeys(order))), frozenset(map(DeploymentId, pinned)))

    def write(self, volume: DirectoryVolume, layout: Layout) -> None:
        """Replace the state, in one step. What a newer version wrote into it stays."""
        present = read_record(volume, layout.state, _NEWER, writes=True)
        unknown = {key: value for key, value in (present or {}).items() if key not in _STATE_KEYS}
        document = {"number": self.number, "order": list(self.order), "pinned": sorted(self.pinned & {*self.order})}
        write_record(volume, layout.state, {**unknown, **document})


_STATE_KEYS = ("number", "order", "pinned")


@frozen(kw_only=True)
class DeploymentRecord:
    """A deployment as it was staged; nothing in it ever changes."""

    id: DeploymentId
    stateroot: str
    image: str
    """its image's key in the store"""
    reference: ImageReference
    arguments: KernelArguments
    own_arguments: tuple[str, ...]
    """further ones, which the backend gave it when it was staged"""
    merge_from: DeploymentId | None
    title: str
    version: str
    kernel: PurePosixPath
    """kernel and initramfs below the sysroot, links resolved"""
    initramfs: PurePosixPath
    boot_digest: Digest
    is_etc_transient: bool = False
    """whether changes of its /etc are forgotten at reboot"""

    @classmethod
    def read(cls, volume: DirectoryVolume, layout: Layout, id: DeploymentId) -> DeploymentRecord | None:
        """The record; None if there is no such deployment. Raises StateError."""
        home = layout.deployments / id
        path, hint = home / DEPLOYMENT, f"move {home} away while another deployment runs"
        document = read_record(volume, path, hint)
        if document is None:
            if volume.is_directory(home):
                raise StateError(str(path), "missing", hint)
            return None
        texts = {key: records.text(document, key, path, hint) for key in _TEXTS}
        merge_from = document.get("merge-from")
        try:
            reference, digest = ImageReference.parse(texts.pop("reference")), Digest.parse(texts.pop("boot-digest"))
        except ReferenceError as error:
            raise StateError(str(path), f"damaged: {error}", hint) from error
        kernel, initramfs = (PurePosixPath(texts.pop(key)) for key in ("kernel", "initramfs"))
        return cls(
            id=id,
            reference=reference,
            arguments=KernelArguments(records.texts(document, "arguments", path, hint)),
            own_arguments=records.texts(document, "own-arguments", path, hint),
            merge_from=DeploymentId(merge_from) if isinstance(merge_from, str) else None,
            kernel=kernel,
            initramfs=initramfs,
            boot_digest=digest,
            is_etc_transient=document.get("etc") == _TRANSIENT,
            **texts,
        )

    def write(self, volume: DirectoryVolume, directory: PurePosixPath) -> None:
        """Write it into a directory that is being built."""
        document = {
            "stateroot": self.stateroot,
            "image": self.image,
            "reference": self.reference.origin,
            "arguments": list(self.arguments),
            "own-arguments": list(self.own_arguments),
            "merge-from": self.merge_from,
            "title": self.title,
            "version": self.version,
            "kernel": str(self.kernel),
            "initramfs": str(self.initramfs),
            "boot-digest": str(self.boot_digest),
            "etc": _TRANSIENT if self.is_etc_transient else "persistent",
        }
        write_record(volume, directory / DEPLOYMENT, document)


_TRANSIENT = "transient"
_TEXTS = ("stateroot", "image", "reference", "title", "version", "kernel", "initramfs", "boot-digest")


def describe_image(image: ImportedImage, layers: Iterable[Digest]) -> dict[str, object]:
    """What a store records of an image: manifest and config as they were served, and diffIDs."""
    return {
        "digest": str(image.digest),
        "manifest": image.manifest.decode(errors="surrogateescape"),
        "config": image.config.decode(errors="surrogateescape"),
        "layers": list(map(str, layers)),
    }


def described_image(
    document: Mapping[str, Any], path: PurePosixPath, hint: str, key: str
) -> tuple[ImportedImage, tuple[Digest, ...]]:
    """The way back: the image and its diffIDs. Raises StateError."""
    digest, manifest, config = (records.text(document, name, path, hint) for name in ("digest", "manifest", "config"))
    try:
        layers = tuple(map(Digest.parse, records.texts(document, "layers", path, hint)))
        raw = (text.encode(errors="surrogateescape") for text in (manifest, config))
        return ImportedImage(Digest.parse(digest), *raw, key=key), layers
    except (ReferenceError, UnicodeError) as error:
        raise StateError(str(path), f"damaged: {error}", hint) from error
