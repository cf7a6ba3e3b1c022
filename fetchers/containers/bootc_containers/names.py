"""Names of images in registries: Docker's reference grammar and its normalisation."""

from __future__ import annotations

import re

from attrs import frozen

from bootc.errors import ReferenceError
from bootc.image import Digest

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]{{1,5}})?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REST = re.compile(rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_NAME_LIMIT = 255

DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "registry-1.docker.io"


@frozen
class Repository:
    """A repository, `DOMAIN/PATH`."""

    domain: str
    """HOST[:PORT] as people write it, `docker.io` for Docker Hub"""
    path: str

    def __str__(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def authority(self) -> str:
        """HOST[:PORT] that speaks the registry protocol."""
        return _DOCKER_HUB_API if self.domain == DOCKER_HUB else self.domain


@frozen
class RegistryName:
    """A repository, and the tag or digest of an image in it. With both, the digest decides."""

    repository: Repository
    tag: str | None
    digest: Digest | None

    @classmethod
    def parse(cls, text: str) -> RegistryName:
        """Read `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`; without tag and digest it is `latest`. Raises ReferenceError."""
        name, at, digest = text.partition("@")
        domain, slash, rest = name.partition("/")
        if not slash or not (domain == "localhost" or re.search(r"[.:A-Z]", domain)):
            domain, rest = DOCKER_HUB, name
        domain = DOCKER_HUB if domain == "index.docker.io" else domain
        parsed = _REST.fullmatch(rest)
        if parsed is None or not _DOMAIN.fullmatch(domain) or _IMAGE_ID.fullmatch(text):
            raise ReferenceError(text[:300], "not the name of an image in a registry", "write HOST/PATH:TAG")
        path = f"library/{parsed['path']}" if domain == DOCKER_HUB and "/" not in parsed["path"] else parsed["path"]
        if len(domain) + 1 + len(path) > _NAME_LIMIT:
            raise ReferenceError(text[:300], f"the name of the repository is longer than {_NAME_LIMIT} characters")
        pinned = Digest.parse(digest) if at else None
        return cls(Repository(domain, path), parsed["tag"] or (None if pinned else "latest"), pinned)

    @property
    def selector(self) -> str:
        """What stands after `/manifests/` in the address."""
        return str(self.digest or self.tag)
