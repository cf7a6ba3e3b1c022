"""Credentials for registries: containers-auth.json(5), in the places where an operating system keeps them.

An explicit file (an option, or $REGISTRY_AUTH_FILE) counts alone. Otherwise the first of ostree's three files that
exists counts alone; the files of podman and docker belong to a person's work, and are read only where asked for.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from bootc.errors import AuthenticationError, BootcError, ConfigError, ProtocolError
from bootc.manifest import strict_json
from bootc_containers import helpers
from bootc_containers.credentials import Credentials
from bootc_containers.places import read_bounded
from bootc_containers.registries_file import AUTH_FILES

SYSTEM_FILES = ("run/ostree/auth.json", "etc/ostree/auth.json", "usr/lib/ostree/auth.json")

_DOCKER_HUB = ("docker.io", "registry-1.docker.io", "index.docker.io")


@frozen
class CredentialSources:
    """Where credentials are looked up."""

    explicit: Path | None = None
    """the only file, if it is given"""
    podman: bool = False
    """whether the files of podman and docker are read, after the system's own"""
    root: Path = Path("/")
    """of the system whose files are read; an explicit file is not below it"""
    environment: Mapping[str, str] = field(factory=lambda: dict(os.environ), repr=False)
    helpers: tuple[str, ...] = (AUTH_FILES,)
    """`credential-helpers` of registries.conf: programs to ask, and AUTH_FILES for the files, in order"""

    def files(self) -> tuple[Path, ...]:
        """The files that count, in order; all exist. Raises ConfigError if the explicit one is missing."""
        explicit = self.explicit or self.environment.get("REGISTRY_AUTH_FILE")
        if explicit:
            if not Path(explicit).exists():
                problem = "the file with the registry's credentials does not exist"
                raise ConfigError(str(explicit), None, problem, "check --authfile and REGISTRY_AUTH_FILE")
            return (Path(explicit),)
        for name in SYSTEM_FILES:
            if (self.root / name).exists():
                return (self.root / name,)
        return tuple(path for path in self._personal() if path.exists()) if self.podman else ()

    def lookup(self, repository: str) -> Credentials | None:
        """Credentials for a repository, `HOST[:PORT]/PATH` without tag; None: go without.

        One of several helpers may fail if another has something. Otherwise raises its AuthenticationError, or
        ConfigError for a file that is not valid.
        """
        failure: BootcError | None = None
        for helper in self.helpers:
            try:
                found = self._from_files(repository) if helper == AUTH_FILES else _from_helper(helper, repository)
            except (ConfigError, AuthenticationError) as error:
                failure = failure or error
                continue
            if found is not None:
                return found
        if failure is not None:
            raise failure
        return None

    def whence(self, repository: str) -> str:
        """Where `lookup` finds credentials, for people. Helpers are named, not run. Raises ConfigError."""
        parts = []
        for helper in self.helpers:
            if helper != AUTH_FILES:
                parts.append(f"docker-credential-{helper}")
                continue
            source = next(filter(None, (_source_in(path, repository) for path in self.files())), None)
            if source is not None:
                return ", else ".join((*parts, source))
        if parts:
            return ", else ".join(parts)
        read = ", ".join(map(str, self.files()))
        return f"none ({read} has no entry)" if read else "none"

    def _from_files(self, repository: str) -> Credentials | None:
        found = (_from_file(path, repository) for path in self.files())
        return next((credentials for credentials in found if credentials is not None), None)

    def _personal(self) -> Iterator[Path]:
        home = Path(self.environment.get("HOME") or "/root")
        runtime = self.environment.get("XDG_RUNTIME_DIR")
        login = Path(runtime, "containers") if runtime else Path(f"/run/containers/{os.getuid()}")
        yield self._below(login) / "auth.json"
        configuration = Path(self.environment.get("XDG_CONFIG_HOME") or home / ".config")
        yield self._below(configuration) / "containers/auth.json"
        yield self._below(Path(self.environment.get("DOCKER_CONFIG") or home / ".docker")) / "config.json"
        yield self._below(home) / ".dockercfg"

    def _below(self, path: Path) -> Path:
        return self.root / path.relative_to("/") if path.is_absolute() else path


def find_authfile(
    explicit: Path | None = None,
    *,
    root: Path = Path("/"),
    podman: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Path | None:
    """The first file with credentials that counts, for programs that take one; None: there is none."""
    variables = dict(os.environ) if environment is None else environment
    return next(iter(CredentialSources(explicit, podman, root, variables).files()), None)


def _from_file(path: Path, repository: str) -> Credentials | None:
    document, helper = _document(path, repository)
    if helper is not None:
        host = repository.partition("/")[0]
        return helpers.ask(helper, host, repository, (str(path), f"credHelpers.{host}"))
    return _from_entries(document, path, repository)


def _source_in(path: Path, repository: str) -> str | None:
    document, helper = _document(path, repository)
    if helper is not None:
        return f"docker-credential-{helper} ({path})"
    return None if _from_entries(document, path, repository) is None else str(path)


def _document(path: Path, repository: str) -> tuple[Mapping[str, Any], Any]:
    """What a file says, and the helper that it names for the repository's host."""
    document = _read(path)
    if path.name == ".dockercfg":
        document = {"auths": document}
    return document, _table(document, "credHelpers", path).get(repository.partition("/")[0])


def _from_entries(document: Mapping[str, Any], path: Path, repository: str) -> Credentials | None:
    entries = _table(document, "auths", path)
    key = next(_keys(repository, entries), None)
    return None if key is None else _decode(entries[key], key, path)


def _from_helper(name: str, repository: str) -> Credentials | None:
    host = repository.partition("/")[0]
    return helpers.ask(name, host, repository, ("registries.conf", "credential-helpers"))


def _keys(repository: str, entries: Mapping[str, Any]) -> Iterator[str]:
    """Keys of `auths` for a repository: its own, those of its parents, then old spellings of its host."""
    name = repository
    while name:
        if name in entries:
            yield name
        name = name.rpartition("/")[0]
    host = _normal_host(repository.partition("/")[0])
    for key in entries:
        bare = re.sub(r"^https?://", "", key)
        names_host = bare != key or "/" not in bare
        if names_host and _normal_host(bare.partition("/")[0]) == host and key != repository.partition("/")[0]:
            yield key


def _normal_host(host: str) -> str:
    return "index.docker.io" if host in _DOCKER_HUB else host


def _read(path: Path) -> dict[str, Any]:
    try:
        return strict_json(read_bounded(path), str(path))
    except FileNotFoundError as error:  # it was there when the files were looked for
        raise ConfigError(str(path), None, f"cannot be read: {error.strerror}") from error
    except ProtocolError as error:
        raise ConfigError(str(path), None, error.problem) from error


def _table(document: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    table = document.get(key)
    if table is None:  # Programs in Go write an empty table so, too.
        return {}
    if not isinstance(table, dict):
        raise ConfigError(str(path), key, "must be an object")
    return table


def _decode(entry: object, key: str, path: Path) -> Credentials | None:
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise ConfigError(str(path), f"auths.{key}", "must be an object")
    token, auth = entry.get("identitytoken") or None, entry.get("auth") or ""
    if not isinstance(auth, str) or not isinstance(token, str | None):
        raise ConfigError(str(path), f"auths.{key}", "`auth` and `identitytoken` must be strings")
    if not auth:
        return Credentials(identity_token=token, origin=str(path)) if token else None
    try:
        username, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        username, colon, password = "", "", ""
    if not colon:
        raise ConfigError(str(path), f"auths.{key}", "`auth` is not user:password in base64")
    return Credentials(username, password.rstrip("\0"), token, str(path))
