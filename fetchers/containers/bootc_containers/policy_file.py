"""The text of a policy.json: whatever is unknown, repeated, empty or of the wrong type rejects the whole file."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from bootc.errors import PolicyError, ProtocolError
from bootc.manifest import strict_json
from bootc_containers.identity import check_form

_PATH_TRANSPORTS = ("dir", "oci", "oci-archive")
_GPG_KEYS = ("keyPath", "keyPaths", "keyData")
_KEY_TYPES = ("GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs")

_FIELDS: Mapping[str, Mapping[str, type]] = {
    "insecureAcceptAnything": {},
    "reject": {},
    "signedBy": {"keyType": str, "keyPath": str, "keyPaths": list, "keyData": str, "signedIdentity": dict},
    "signedBaseLayer": {"baseLayerIdentity": dict},
    "sigstoreSigned": {
        **dict.fromkeys(("keyPath", "keyData", "rekorPublicKeyPath", "rekorPublicKeyData"), str),
        **dict.fromkeys(("keyPaths", "keyDatas", "rekorPublicKeyPaths", "rekorPublicKeyDatas"), list),
        **dict.fromkeys(("fulcio", "pki", "signedIdentity"), dict),
    },
}
_CERTIFICATES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, ...], ...]]] = {
    "fulcio": (
        ("caPath", "caData", "oidcIssuer", "subjectEmail"),
        ("caPath", "caData"),
        (("oidcIssuer", "subjectEmail"),),
    ),
    "pki": (
        ("caRootsPath", "caRootsData", "caIntermediatesPath", "caIntermediatesData", "subjectEmail", "subjectHostname"),
        ("caRootsPath", "caRootsData"),
        (("subjectEmail",), ("subjectHostname",)),
    ),
}
"""their keys; of which there must be exactly one; and sets of keys of which one must be whole"""
_IDENTITIES: Mapping[str, tuple[str, ...]] = {
    "matchExact": (),
    "matchRepoDigestOrExact": (),
    "matchRepository": (),
    "exactReference": ("dockerReference",),
    "exactRepository": ("dockerRepository",),
    "remapIdentity": ("prefix", "signedPrefix"),
}


@frozen
class Requirement:
    """One policy requirement: its type, and its other fields as they stand in the file."""

    type: str
    fields: Mapping[str, Any]


def parse(
    data: bytes, source: str
) -> tuple[tuple[Requirement, ...], Mapping[str, Mapping[str, tuple[Requirement, ...]]]]:
    """The default and the scopes of each transport. Raises PolicyError; `source` names the file in it."""
    try:
        text = data.decode("utf-8")
        document = strict_json(text.encode(), source)
        _only(document, {"default", "transports"})
        if "default" not in document:
            raise ValueError("there is no default")
        default = _requirements(document["default"])
        transports = _object(document.get("transports", {}))
        return default, {name: _scopes(name, table) for name, table in transports.items()}
    except ProtocolError as error:
        raise PolicyError(source, f"invalid signature policy: {error.problem}") from error
    except ValueError as error:
        raise PolicyError(source, f"invalid signature policy: {error}") from error


def _scopes(transport: str, table: object) -> Mapping[str, tuple[Requirement, ...]]:
    result = {}
    for scope, requirements in _object(table).items():
        if scope and not _is_scope(transport, scope):
            raise ValueError(f"{scope!r} is no scope of transport {transport}")
        result[scope] = _requirements(requirements)
    return result


def _is_scope(transport: str, scope: str) -> bool:
    if transport in _PATH_TRANSPORTS:
        return scope != "/" and scope.startswith("/") and "//" not in scope and os.path.normpath(scope) == scope
    if transport == "docker-daemon":
        return not re.fullmatch(r"\w+:[0-9a-f]{32,}", scope, re.ASCII)
    if transport == "containers-storage":
        return re.match(r"\[(?:[^@\]]+@)?/[^@\]]*\]", scope) is not None
    return transport != "docker-archive"


def _requirements(value: object) -> tuple[Requirement, ...]:
    if not isinstance(value, list):
        raise ValueError("requirements are not a list")
    if not value:
        raise ValueError("a list of requirements is empty")
    return tuple(_requirement(item) for item in value)


def _requirement(value: object) -> Requirement:
    fields = dict(_object(value))
    kind = fields.pop("type", None)
    known = _FIELDS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise ValueError(f"unknown requirement type {kind!r}")
    _only(fields, set(known))
    for name, item in fields.items():
        if not isinstance(item, known[name]):
            raise ValueError(f"{name} of {kind} has the wrong type")
        if isinstance(item, list) and not (item and all(isinstance(part, str) for part in item)):
            raise ValueError(f"{name} of {kind} is not a list of names")
        if name.endswith(("Data", "Datas")):
            _check_data(name, item if isinstance(item, list) else [item])
    _CHECKS.get(kind, _nothing_more)(fields)
    if "signedIdentity" in fields:
        _check_identity(fields["signedIdentity"])
    return Requirement(kind, fields)


def _check_data(name: str, texts: Sequence[Any]) -> None:
    for text in texts:
        try:
            base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"{name} is not valid base64") from error


def _check_signed_by(fields: Mapping[str, Any]) -> None:
    if fields.get("keyType") not in _KEY_TYPES:
        raise ValueError(f"keyType {fields.get('keyType')!r} of signedBy is not known")
    if sum(name in fields for name in _GPG_KEYS) != 1:
        raise ValueError("signedBy needs exactly one of keyPath, keyPaths and keyData")


def _check_sigstore(fields: Mapping[str, Any]) -> None:
    sources = ("keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki")
    logs = ("rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas")
    count = sum(name in fields for name in logs)
    if sum(name in fields for name in sources) != 1 or count > 1:
        raise ValueError(
            f"sigstoreSigned needs exactly one of {', '.join(sources)}, and at most one of {', '.join(logs)}"
        )
    if ("fulcio" in fields and not count) or ("pki" in fields and count):
        raise ValueError("sigstoreSigned needs Rekor's key with fulcio, and cannot have one with pki")
    for name in _CERTIFICATES:
        if name in fields:
            _check_authority(name, fields[name])


def _check_authority(name: str, fields: Mapping[str, Any]) -> None:
    known, one_of, needed = _CERTIFICATES[name]
    _only(fields, set(known))
    if not all(isinstance(value, str) and value for value in fields.values()):
        raise ValueError(f"{name} holds something that is no text")
    if sum(key in fields for key in one_of) != 1:
        raise ValueError(f"{name} needs exactly one of {' and '.join(one_of)}")
    if not any(all(key in fields for key in keys) for keys in needed):
        raise ValueError(f"{name} needs {' or '.join(' and '.join(keys) for keys in needed)}")
    if {"caIntermediatesPath", "caIntermediatesData"} <= fields.keys():
        raise ValueError(f"{name} has its intermediate authorities twice")
    for key in fields:
        if key.endswith("Data"):
            _check_data(key, [fields[key]])


def _check_base_layer(fields: Mapping[str, Any]) -> None:
    _check_identity(fields.get("baseLayerIdentity"))


def _nothing_more(fields: Mapping[str, Any]) -> None:
    """The table said it all."""


_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "signedBy": _check_signed_by,
    "sigstoreSigned": _check_sigstore,
    "signedBaseLayer": _check_base_layer,
}


def _check_identity(value: object) -> None:
    fields = dict(_object(value))
    kind = fields.pop("type", None)
    names = _IDENTITIES.get(kind) if isinstance(kind, str) else None
    if names is None:
        raise ValueError(f"unknown identity type {kind!r}")
    _only(fields, set(names))
    if not all(isinstance(fields.get(name), str) for name in names):
        raise ValueError(f"identity {kind} needs {' and '.join(names)}")
    check_form(str(kind), fields)


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("an object was expected")
    return value


def _only(fields: Mapping[str, Any], known: set[str]) -> None:
    for name in fields:
        if name not in known:
            raise ValueError(f"unknown key {name!r}")
