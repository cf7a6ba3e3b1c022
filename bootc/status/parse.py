"""Reading a Host document that somebody else wrote: strict in types, tolerant of unknown and missing keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import frozen

from bootc.errors import ConfigError
from bootc.image import ImageReference
from bootc.status.model import Entry, FailedDeployment, Host, ImageStatus, UsrOverlay

Parsed = TypeVar("Parsed")


def parse_host(document: object) -> Host:
    """Read a document of any version. Raises ConfigError, which names the key."""
    top = _node(document, "document")
    for key in ("apiVersion", "kind"):
        top.text(key)
    spec, status = top.optional("spec", _same) or _EMPTY, top.optional("status", _same) or _EMPTY
    return Host(
        target=spec.optional("image", _reference),
        is_order_reversed=spec.choice("bootOrder", ("default", "rollback"), "default") == "rollback",
        is_rollback_queued=status.flag("rollbackQueued"),
        staged=status.optional("staged", _entry),
        booted=status.optional("booted", _entry),
        rollback=status.optional("rollback", _entry),
        others=tuple(_entry(item) for item in status.items("otherDeployments")),
        type=status.optional_text("type"),
        usr_overlay=status.optional("usrOverlay", _overlay),
        is_read_only=status.flag("readOnly"),
        failed=tuple(_failed(item) for item in status.items("failedDeployments")),
    )


@frozen
class _Node:
    """One mapping of the document, and where it stands."""

    path: str
    values: Mapping[str, Any]

    def optional(self, key: str, parse: Callable[[_Node], Parsed]) -> Parsed | None:
        value = self.values.get(key)
        return None if value is None else parse(_node(value, self._at(key)))

    def items(self, key: str) -> list[_Node]:
        value = self.values.get(key)
        if value is not None and not isinstance(value, list):
            raise self._wrong(key, "a list")
        return [_node(item, f"{self._at(key)}[{index}]") for index, item in enumerate(value or [])]

    def text(self, key: str) -> str:
        value = self.optional_text(key)
        if value is None:
            raise self._wrong(key, "a string; it is missing")
        return value

    def optional_text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def flag(self, key: str) -> bool:
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return bool(value)

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self.optional_text(key) or default
        if value not in choices:
            raise self._wrong(key, f"one of {', '.join(choices)}")
        return value

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}".removeprefix("document.")

    def _wrong(self, key: str, wanted: str) -> ConfigError:
        return ConfigError("host document", self._at(key), f"must be {wanted}")


_EMPTY = _Node("document", {})


def _node(value: object, path: str) -> _Node:
    if not isinstance(value, Mapping):
        raise ConfigError("host document", path, "must be a mapping")
    return _Node(path, value)


def _same(node: _Node) -> _Node:
    return node


def _entry(node: _Node) -> Entry:
    return Entry(
        image=node.optional("image", _image),
        cached_update=node.optional("cachedUpdate", _image),
        is_incompatible=node.flag("incompatible"),
        is_pinned=node.flag("pinned"),
        is_soft_reboot_capable=node.flag("softRebootCapable"),
        is_download_only=node.flag("downloadOnly"),
        store=node.optional_text("store"),
        ostree=node.optional("ostree", lambda found: found.values),
        composefs=node.optional("composefs", lambda found: found.values),
        verdict=node.optional_text("verdict"),
    )


def _failed(node: _Node) -> FailedDeployment:
    return FailedDeployment(
        kind=node.text("kind"),
        deployment=node.text("deployment"),
        reason=node.text("reason"),
        time=node.text("time"),
        digest=node.optional_text("imageDigest"),
        reference=node.optional("image", _reference),
    )


def _image(node: _Node) -> ImageStatus:
    reference = _node(node.values.get("image"), f"{node.path}.image")
    return ImageStatus(
        name=reference.text("image"),
        transport=reference.text("transport"),
        signature=_signature(reference),
        digest=node.text("imageDigest"),
        architecture=node.optional_text("architecture") or "",
        version=node.optional_text("version"),
        timestamp=node.optional_text("timestamp"),
    )


def _reference(node: _Node) -> ImageReference:
    signature = _signature(node)
    return ImageReference.of(node.text("image"), node.text("transport"), None if signature == "insecure" else signature)


def _signature(node: _Node) -> str | None:
    value = node.values.get("signature")
    if isinstance(value, Mapping):
        return f"ostreeRemote:{_Node(f'{node.path}.signature', value).text('ostreeRemote')}"
    return node.choice("signature", ("containerPolicy", "insecure"), "insecure") if value is not None else None


def _overlay(node: _Node) -> UsrOverlay:
    return UsrOverlay(
        access=node.choice("accessMode", ("readOnly", "readWrite"), "readWrite"),
        persistence=node.choice("persistence", ("transient", "persistent"), "transient"),
    )
