"""Names of an image in a policy.json, the most specific first: containers-policy.json(5), "Supported transports"."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from bootc.errors import PolicyError, ReferenceError
from bootc.image import ImageReference

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_PATH = re.compile(rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")
_ID = re.compile(r"[0-9a-f]{64}")
_ABBREVIATED_ID = re.compile(r"[0-9a-f]{3,63}")
_STORE = re.compile(r"\[(?:(?P<driver>[^@\]]+)@)?(?P<root>/[^+:\]]*)[^\]]*\](?P<name>.*)")


def policy_transport(reference: ImageReference) -> str:
    """The transport's name in policies: `docker` for registries."""
    return "docker" if reference.transport == "registry" else reference.transport


def scopes(reference: ImageReference, root: Path = Path("/")) -> tuple[str, ...]:
    """Its identity, then each wider scope, without the transport's `""`. Raises ReferenceError or PolicyError."""
    match reference.transport:
        case "registry":
            return tuple(docker_scopes(reference.name))
        case "docker-daemon":
            return () if re.fullmatch(_DIGEST, reference.name) else tuple(docker_scopes(reference.name))
        case "oci" | "oci-archive":
            return tuple(_directories(reference.name.partition(":")[0]))
        case "dir":
            return tuple(_directories(reference.name))
        case "containers-storage":
            return tuple(_storage(reference, root))
        case _:
            return ()


def docker_scopes(name: str) -> Iterator[str]:
    """Those of an image in a registry."""
    repository, tag, digest = _expanded(name)
    yield f"{repository}@{digest}" if digest else f"{repository}:{tag or 'latest'}"
    yield from _parents(repository)
    # Wildcards are built from the host without its port (upstream does so, and administrators rely on it).
    labels = repository.partition("/")[0].partition(":")[0].split(".")
    for start in range(1, len(labels)):
        yield "*." + ".".join(labels[start:])


def _expanded(name: str) -> tuple[str, str | None, str | None]:
    domain, slash, rest = name.partition("/")
    if not slash or not (domain == "localhost" or re.search(r"[.:A-Z]", domain)):
        domain, rest = "docker.io", name
    if domain == "index.docker.io":
        domain = "docker.io"
    parsed = _PATH.fullmatch(rest)
    if not _DOMAIN.fullmatch(domain) or parsed is None or _ID.fullmatch(name):
        raise ReferenceError(name, "not the name of an image in a registry")
    path = f"library/{parsed['path']}" if domain == "docker.io" and "/" not in parsed["path"] else parsed["path"]
    return f"{domain}/{path}", parsed["tag"], parsed["digest"]


def _parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _directories(path: str) -> Iterator[str]:
    yield from _parents(os.path.realpath(path).rstrip("/"))


def _storage(reference: ImageReference, root: Path) -> Iterator[str]:
    parsed = _STORE.fullmatch(reference.name)
    driver, graph_root = _default_store(root)
    name = reference.name
    if parsed is not None:
        driver, graph_root, name = parsed["driver"] or driver, parsed["root"], parsed["name"]
    elif name.startswith("["):
        raise ReferenceError(name, "not a containers-storage reference")
    store = f"[{driver}@{graph_root}]"
    yield from (store + scope for scope in _stored(name, reference))
    yield store
    yield f"[{graph_root}]"


def _stored(name: str, reference: ImageReference) -> Iterator[str]:
    name = name.removeprefix("sha256:")
    if _ID.fullmatch(name.removeprefix("@")):
        yield "@" + name.removeprefix("@")
        return
    if _ABBREVIATED_ID.fullmatch(name.removeprefix("@")):
        hint = "write the whole id, or the full name of the image"
        raise PolicyError(reference.display, "may be an abbreviated id, for which no policy can be found", hint)
    named, at, identifier = name.rpartition("@")
    if at and _ID.fullmatch(identifier):
        full = _full_name(named)
        yield f"{full}@{identifier}"
    else:
        full = _full_name(name)
    yield full
    repository, tag, digest = _expanded(full)
    if tag and digest:
        yield f"{repository}:{tag}"
    yield from _parents(repository)


def _full_name(name: str) -> str:
    repository, tag, digest = _expanded(name)
    suffix = f":{tag}" if tag else ("" if digest else ":latest")
    return repository + suffix + (f"@{digest}" if digest else "")


def _default_store(root: Path) -> tuple[str, str]:
    for path in (root / "etc/containers/storage.conf", root / "usr/share/containers/storage.conf"):
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8")).get("storage", {})
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise PolicyError(str(path), f"cannot be read, so no policy can be found: {error}") from error
        return str(table.get("driver") or "overlay"), str(table.get("graphroot") or "/var/lib/containers/storage")
    return "overlay", "/var/lib/containers/storage"
