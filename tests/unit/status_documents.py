"""Host documents for the tests of status, as short as each case allows."""

from __future__ import annotations

from typing import Any

A, B, C = (f"sha256:{digit * 64}" for digit in "abc")
COMMIT_A, COMMIT_B = "1" * 64, "2" * 64


def reference(name: str = "reg.example/os:stable", transport: str = "registry", **more: Any) -> dict[str, Any]:
    return {"image": name, "transport": transport, **more}


def image(digest: str = A, version: str | None = None, timestamp: str | None = None, **more: Any) -> dict[str, Any]:
    named = more.pop("image", reference())
    arch = more.pop("architecture", "amd64")
    return {"image": named, "version": version, "timestamp": timestamp, "imageDigest": digest, "architecture": arch}


def ostree(commit: str = COMMIT_A, serial: int = 0, stateroot: str = "default") -> dict[str, Any]:
    return {"stateroot": stateroot, "checksum": commit, "deploySerial": serial}


def entry(found: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    common = {"image": found, "cachedUpdate": None, "incompatible": False, "pinned": False}
    return {**common, "ostree": ostree(), "store": "ostreeContainer" if found else None, **more}


def document(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "org.containers.bootc/v1",
        "kind": "BootcHost",
        "metadata": {"name": "host"},
        "spec": spec or {"image": None, "bootOrder": "default"},
        "status": {"staged": None, "booted": None, "rollback": None, **status},
    }
