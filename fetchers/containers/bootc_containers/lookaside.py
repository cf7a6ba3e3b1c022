"""Where signatures of a registry's images are kept: containers-registries.d(5)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from bootc.errors import ConfigError
from bootc.image import Digest
from bootc_containers.names import RegistryName
from bootc_containers.places import Places, read_bounded
from bootc_containers.policy_scopes import docker_scopes

_URL_KEYS = ("lookaside", "lookaside-staging", "sigstore", "sigstore-staging")
_FLAG = "use-sigstore-attachments"


@frozen
class SignatureConfiguration:
    """All files of registries.d. Keys that are not known are passed over."""

    default: Mapping[str, Any] = field(factory=dict)
    scopes: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    fallback: str = "file:///var/lib/containers/sigstore"

    @classmethod
    def load(cls, places: Places) -> SignatureConfiguration:
        """Raises ConfigError for a file that is not valid, and for a scope that stands in two of them."""
        default: Mapping[str, Any] = {}
        scopes: dict[str, Mapping[str, Any]] = {}
        for path in places.drop_ins("d", "registries", ".yaml"):
            document = _table(_parse(read_bounded(path), str(path)), str(path))
            section = document.get("default-docker")
            if section is not None:
                if default:
                    raise ConfigError(str(path), "default-docker", "stands in another file, too")
                default = _section(section, str(path), "default-docker")
            for scope, value in _table(document.get("docker"), str(path)).items():
                if scope in scopes:
                    raise ConfigError(str(path), f"docker.{scope}", "stands in another file, too")
                scopes[str(scope)] = _section(value, str(path), f"docker.{scope}")
        return cls(default, scopes)

    def lookaside(self, name: RegistryName, digest: Digest) -> str:
        """Where the signatures of a manifest are, without `/signature-N`. `name` is that of the server asked."""
        return f"{self.base(name).rstrip('/')}/{name.repository.path}@{digest.algorithm}={digest.hex}"

    def base(self, name: RegistryName) -> str:
        """The lookaside that is configured for a name at the server asked."""
        return str(self._first(name, "lookaside", "sigstore") or self.fallback)

    def uses_attachments(self, name: RegistryName) -> bool:
        """Whether the registry itself keeps signatures by sigstore, beside the image."""
        return bool(self._first(name, _FLAG))

    @property
    def document(self) -> Mapping[str, Any]:
        """All of it as one file would say it, with the keys that are known."""
        known = {scope: _known(section) for scope, section in self.scopes.items()}
        return {"default-docker": _known(self.default), "docker": known}

    def _first(self, name: RegistryName, *keys: str) -> object:
        """The value for the narrowest scope that has one of the keys."""
        for section in self._sections(name):
            for key in keys:
                if section.get(key) not in (None, ""):
                    return section[key]
        return None

    def _sections(self, name: RegistryName) -> Iterator[Mapping[str, Any]]:
        for scope in docker_scopes(f"{name.repository}{'@' if name.digest else ':'}{name.selector}"):
            if scope in self.scopes:
                yield self.scopes[scope]
        yield self.default


def _known(section: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: section[name] for name in (*_URL_KEYS, _FLAG) if name in section}


def _section(value: object, source: str, key: str) -> Mapping[str, Any]:
    section = _table(value, source)
    for name in section.keys() & {*_URL_KEYS, _FLAG}:
        if not isinstance(section[name], bool if name == _FLAG else str):
            raise ConfigError(source, f"{key}.{name}", "has the wrong type")
    return section


def _table(value: object, source: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(source, None, "a table with texts as keys was expected")
    return value


def _parse(data: bytes, source: str) -> object:
    import yaml

    try:
        _refuse_duplicates(yaml.compose(data, Loader=yaml.SafeLoader), source)
        return yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise ConfigError(source, None, "not valid YAML") from error


def _refuse_duplicates(node: Any, source: str) -> None:
    if node is None or not isinstance(node.value, list):
        return
    seen = set()
    for item in node.value:
        for part in item if isinstance(item, tuple) else (item,):
            _refuse_duplicates(part, source)
        if isinstance(item, tuple):
            if item[0].value in seen:
                raise ConfigError(source, str(item[0].value), "stands there twice")
            seen.add(str(item[0].value))


def is_local(url: str) -> bool:
    """Whether a lookaside is a directory of this machine."""
    return url.startswith("file:///")


def is_remote(url: str) -> bool:
    """Whether a lookaside is a directory of a web server."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def shown(url: str) -> str:
    """For people: without the user and the password that may stand in it."""
    return re.sub(r"//[^/?#]*@", "//…@", url)


def local_path(url: str) -> str:
    """The path of a `file:` URL."""
    return os.path.normpath(unquote(url.removeprefix("file://")))
