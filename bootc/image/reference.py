"""References to images, in their spellings."""

from __future__ import annotations

import re

from attrs import evolve, frozen

from bootc.errors import ReferenceError
from bootc.image.digest import Digest

TRANSPORTS = ("registry", "oci", "oci-archive", "docker-archive", "docker-daemon", "containers-storage", "dir")

_REMOTE = r"[\w.-]+"


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
    if text == "containerPolicy" or (kind == "ostreeRemote" and re.fullmatch(_REMOTE, remote, re.ASCII)):
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
