"""The Host document as data: `org.containers.bootc/v1`, written and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from bootc.deployment import Deployment, DeploymentId
from bootc.state import Failure
from bootc.status.model import CachedUpdate, Entry, FailedDeployment, Host, ImageStatus, UsrOverlay
from bootc.status.text import printable_json

API_VERSION = "org.containers.bootc/v1"
KIND = "BootcHost"

Document: TypeAlias = dict[str, Any]


def host_document(
    deployments: Sequence[Deployment],
    *,
    cached_updates: Mapping[DeploymentId, CachedUpdate] | None = None,
    is_read_only: bool = False,
    failures: Sequence[Failure] = (),
    verdicts: Mapping[DeploymentId, str] | None = None,
) -> Document:
    """The document for a system with these deployments, in boot order; none of them: no bootc host."""
    cached = cached_updates or {}
    host = Host.of(deployments, cached_updates=cached, is_read_only=is_read_only, failures=failures, verdicts=verdicts)
    return dump_host(host)


def to_json(document: Document) -> str:
    """Canonical JSON: sorted keys, one line."""
    return printable_json(document)


def to_yaml(document: Document) -> str:
    """YAML in the order of the format's definition, without the last newline."""
    import yaml

    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=4096)
    if not text.replace("\n", "").isprintable():
        text = yaml.safe_dump(document, sort_keys=False, width=4096)
    return text.rstrip("\n")


def dump_host(host: Host) -> Document:
    """Write a Host: absent values are null, but for the keys that the format leaves out."""
    status: Document = {
        "staged": _dump_entry(host.staged),
        "booted": _dump_entry(host.booted),
        "rollback": _dump_entry(host.rollback),
        "otherDeployments": [_dump_entry(entry) for entry in host.others],
        "rollbackQueued": host.is_rollback_queued,
        "type": host.type,
        "usrOverlay": _dump_overlay(host.usr_overlay),
        "readOnly": host.is_read_only,
    }
    if not host.others:
        del status["otherDeployments"]
    if host.failed:
        status["failedDeployments"] = [_dump_failed(failed) for failed in host.failed]
    target = host.target
    spec = {
        "image": _dump_reference(target.name, target.transport, target.signature) if target else None,
        "bootOrder": "rollback" if host.is_order_reversed else "default",
    }
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "host"}, "spec": spec, "status": status}


def _dump_entry(entry: Entry | None) -> Document | None:
    if entry is None:
        return None
    return {
        "image": _dump_image(entry.image),
        "cachedUpdate": _dump_image(entry.cached_update),
        "incompatible": entry.is_incompatible,
        "pinned": entry.is_pinned,
        "softRebootCapable": entry.is_soft_reboot_capable,
        "downloadOnly": entry.is_download_only,
        "store": entry.store,
        "ostree": None if entry.ostree is None else dict(entry.ostree),
        "composefs": None if entry.composefs is None else dict(entry.composefs),
        **({} if entry.verdict is None else {"verdict": entry.verdict}),
        **entry.details,
    }


def _dump_failed(failed: FailedDeployment) -> Document:
    reference = failed.reference
    return {
        "kind": failed.kind,
        "deployment": failed.deployment,
        "image": _dump_reference(reference.name, reference.transport, reference.signature) if reference else None,
        "imageDigest": failed.digest,
        "reason": failed.reason,
        "time": failed.time,
    }


def _dump_image(image: ImageStatus | None) -> Document | None:
    if image is None:
        return None
    return {
        "image": _dump_reference(image.name, image.transport, image.signature),
        "version": image.version,
        "timestamp": image.timestamp,
        "imageDigest": image.digest,
        "architecture": image.architecture,
    }


def _dump_reference(name: str, transport: str, signature: str | None) -> Document:
    reference: Document = {"image": name, "transport": transport}
    kind, _, remote = (signature or "insecure").partition(":")
    if kind != "insecure":
        reference["signature"] = {kind: remote} if remote else kind
    return reference


def _dump_overlay(overlay: UsrOverlay | None) -> Document | None:
    return {"accessMode": overlay.access, "persistence": overlay.persistence} if overlay else None
