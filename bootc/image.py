"""Images as values: references in their spellings, digests, descriptors, and what manifest and config say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from attrs import evolve, field, frozen

from bootc.errors import ReferenceError

TRANSPORTS = ("registry", "oci", "oci-archive", "docker-archive", "docker-daemon", "containers-storage", "dir")

_HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")
_REMOTE = re.compile(r"[\w.-]+", re.ASCII)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):\d\d:\d\d)(\.\d+)?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


@frozen
class Digest:
    """A content digest, `sha256:` or `sha512:` and lower-case hex (OCI image specification, descriptor)."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Check the text strictly: a digest becomes part of paths and URLs. Raises ReferenceError."""
        algorithm, _, digits = text.partition(":")
        if len(digits) != _HEX_LENGTHS.get(algorithm, -1) or not _HEX.fullmatch(digits):
            raise ReferenceError(text[:150], "not a sha256 or sha512 digest")
        return cls(algorithm, digits)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self.hex[:12]


@frozen
class ImageReference:
    """Where an image comes from, and how its signature is to be checked.

    `name` is in the syntax of the transport (containers-transports(5)); `signature` is None (nothing beyond
    policy.json), `containerPolicy`, or `ostreeRemote:NAME`.
    """

    transport: str
    name: str
    signature: str | None = None

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read `docker://NAME`, `TRANSPORT:NAME` or one of ostree's forms (`ostree-unverified-registry:NAME`, …)."""
        kind, _, rest = text.partition(":")
        match kind:
            case "ostree-image-signed":
                return evolve(_transport_reference(rest, text), signature="containerPolicy")
            case "ostree-unverified-image":
                return _transport_reference(rest, text)
            case "ostree-unverified-registry":
                return _named("registry", rest, text)
            case "ostree-remote-image" | "ostree-remote-registry":
                return _of_remote(kind, rest, text)
            case _:
                return _transport_reference(text, text)

    @classmethod
    def of(cls, name: str, transport: str = "registry", signature: str | None = None) -> ImageReference:
        """From the separate fields of the command line or the status document; signature `insecure` is None."""
        return evolve(_named(transport, name, name), signature=_signature(signature))

    def __str__(self) -> str:
        """The transport form, `docker://NAME` for registries."""
        return f"docker://{self.name}" if self.transport == "registry" else f"{self.transport}:{self.name}"

    @property
    def origin(self) -> str:
        """The canonical spelling in origin files (`container-image-reference`)."""
        if self.signature is None:
            if self.transport == "registry":
                return f"ostree-unverified-registry:{self.name}"
            return f"ostree-unverified-image:{self}"
        if self.signature == "containerPolicy":
            return f"ostree-image-signed:{self}"
        remote = self.signature.partition(":")[2]
        if self.transport == "registry":
            return f"ostree-remote-registry:{remote}:{self.name}"
        return f"ostree-remote-image:{remote}:{self}"

    @property
    def short(self) -> str:
        """For messages: the bare name of an unsigned registry image, else the origin's spelling."""
        return self.name if self.transport == "registry" and self.signature is None else self.origin

    @property
    def display(self) -> str:
        """For the status text: the bare name of a registry image, else `transport:name`."""
        return self.name if self.transport == "registry" else f"{self.transport}:{self.name}"

    @property
    def digest(self) -> Digest | None:
        """The digest that a registry name ends in, if it does."""
        text = self.name.partition("@")[2] if self.transport == "registry" else ""
        return Digest.parse(text) if text else None

    @property
    def canonical(self) -> ImageReference:
        """A registry name with both tag and digest without its tag: the digest decides."""
        if self.transport != "registry" or "@" not in self.name:
            return self
        name, _, digest = self.name.partition("@")
        return evolve(self, name=f"{_split_tag(name)[0]}@{digest}")

    def with_tag(self, tag: str) -> ImageReference:
        """The same repository at another tag; a digest is dropped."""
        if not re.fullmatch(r"\w[\w.-]{0,127}", tag, re.ASCII):
            raise ReferenceError(tag, "not a tag")
        return evolve(self, name=f"{_split_tag(self.name.partition('@')[0])[0]}:{tag}")

    def with_digest(self, digest: Digest) -> ImageReference:
        """The same repository at this digest, for registries; other transports stay as they are."""
        if self.transport != "registry":
            return self
        return evolve(self, name=f"{_split_tag(self.name.partition('@')[0])[0]}@{digest}")


def _of_remote(kind: str, rest: str, whole: str) -> ImageReference:
    remote, _, name = rest.partition(":")
    signature = _signature(f"ostreeRemote:{remote}")
    inner = _named("registry", name, whole) if kind.endswith("registry") else _transport_reference(name, whole)
    return evolve(inner, signature=signature)


def _signature(text: str | None) -> str | None:
    if text is None or text == "insecure":
        return None
    kind, colon, remote = text.partition(":")
    if text == "containerPolicy" or (kind == "ostreeRemote" and _REMOTE.fullmatch(remote)):
        return text
    problem = "not a name of an ostree remote" if kind == "ostreeRemote" and colon else "unknown signature policy"
    raise ReferenceError(text, problem)


def _transport_reference(text: str, whole: str) -> ImageReference:
    if text.startswith("docker://"):
        return _named("registry", text.removeprefix("docker://"), whole)
    transport, colon, name = text.partition(":")
    if not colon:
        raise ReferenceError(whole, "no transport", "write docker://NAME for an image in a registry")
    return _named(transport, name, whole)


def _named(transport: str, name: str, whole: str) -> ImageReference:
    if transport not in TRANSPORTS:
        raise ReferenceError(whole, f"unknown transport {transport!r}", f"known: {', '.join(TRANSPORTS)}")
    if not name:
        raise ReferenceError(whole, "empty name")
    if any(not char.isprintable() or (char.isspace() and transport == "registry") for char in name):
        raise ReferenceError(whole, "contains characters that cannot be part of a name")
    if transport == "registry" and "@" in name:
        Digest.parse(name.partition("@")[2])
    return ImageReference(transport, name)


def _split_tag(name: str) -> tuple[str, str | None]:
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, None)


@frozen
class Descriptor:
    """What a manifest says of one blob. `size` is bytes; None where the source cannot know it."""

    media_type: str
    digest: Digest
    size: int | None
    annotations: Mapping[str, str] = field(factory=dict)


@frozen
class Layer:
    """One layer: its identity (as the manifest names it), its content (diffID), and the blob that is really served."""

    descriptor: Descriptor
    diff_id: Digest
    blob: Descriptor

    @property
    def expected_size(self) -> int:
        """Bytes that will be served, as far as they are known before: else those that the manifest names."""
        known = (self.blob.size, self.descriptor.size)
        return next((size for size in known if size is not None), 0)


@frozen(slots=False)
class ImageSummary:
    """Manifest and config of an image, and the digest by which it is known. Lives as long as the import does."""

    digest: Digest
    manifest: bytes
    """JSON; as served for a fetched image, possibly re-serialised by a store"""
    config: bytes
    """JSON (OCI image configuration)"""

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        return _object(self.config)

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """`config.Labels`."""
        config = self._config.get("config")
        labels = config.get("Labels") if isinstance(config, dict) else None
        return {key: str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}

    @property
    def architecture(self) -> str:
        """OCI spelling: `amd64`, `arm64`, …"""
        return str(self._config.get("architecture") or "")

    @property
    def version(self) -> str | None:
        """Label `org.opencontainers.image.version`, else `version`."""
        return self.labels.get("org.opencontainers.image.version") or self.labels.get("version")

    @property
    def created(self) -> str | None:
        """RFC 3339: label `org.opencontainers.image.created`, else the config's `created`; None: neither is a date."""
        texts = self.labels.get("org.opencontainers.image.created", ""), str(self._config.get("created") or "")
        return next(filter(parse_time, texts), None)

    @cached_property
    def diff_ids(self) -> tuple[Digest, ...]:
        """`rootfs.diff_ids`: the digests of the layers' contents. Empty if they are not stated as they should be."""
        rootfs = self._config.get("rootfs")
        found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        try:
            return tuple(Digest.parse(text) for text in found) if isinstance(found, list) else ()
        except (ReferenceError, AttributeError):
            return ()

    @cached_property
    def layer_sizes(self) -> Mapping[Digest, int]:
        """Digest and compressed size of each layer of the manifest."""
        layers = _object(self.manifest).get("layers")
        return dict(filter(None, map(_digest_and_size, layers if isinstance(layers, list) else [])))


@frozen(slots=False)
class Image(ImageSummary):
    """What `Fetcher.resolve` learned. Manifest and config are exactly the bytes that were served and verified."""

    reference: ImageReference = field(kw_only=True)
    top_digest: Digest | None = field(kw_only=True)
    """of what the tag points to (the index, for multi-arch); None: the source cannot know"""
    layers: tuple[Layer, ...] = field(kw_only=True)
    verdict: str = field(kw_only=True)
    """which requirement of the signature policy accepted it"""


@frozen(slots=False)
class ImportedImage(ImageSummary):
    """An image that is whole in a store. `key` is the store's own name for it (commit, slot, …)."""

    key: str = field(kw_only=True)


def parse_time(text: str) -> datetime | None:
    """RFC 3339 to a datetime; None if the text is no such date. Digits beyond microseconds are dropped."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    date, time, fraction, zone = match.groups(default="")
    try:
        moment = datetime.fromisoformat(f"{date}T{time}{fraction[:7]}{zone.upper().replace('Z', '+00:00')}")
        moment.astimezone(UTC)
    except (ValueError, OverflowError):  # no such day, or a time that is in no year in UTC
        return None
    return moment


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces, as the status document and ostree's container store write it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _digest_and_size(layer: object) -> tuple[Digest, int] | None:
    if not isinstance(layer, dict) or not isinstance(layer.get("digest"), str):
        return None
    size = layer.get("size")
    try:
        return Digest.parse(layer["digest"]), size if isinstance(size, int) else 0
    except ReferenceError:
        return None
