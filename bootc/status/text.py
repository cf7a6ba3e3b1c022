"""What `bootc status` prints for people, and the few lines that upgrades print about images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from bootc.image import Digest, ImageSummary, canonical_json
from bootc.state import Failure, FailureKind
from bootc.status.model import Entry, Explanation, FailedDeployment, Host, ImageStatus, utc_time

NOT_BOOTED = "System is not deployed via bootc."

Row: TypeAlias = tuple[str, str]

_PREFIXES = {"staged": "  Staged", "booted": "● Booted", "rollback": "  Rollback", "other": "   Other"}
_WORDS = {"readOnly": "read-only", "readWrite": "read/write", "transient": "transient", "persistent": "persistent"}


def status_text(host: Host, *, is_verbose: bool = False) -> str:
    """A block for each deployment, an empty line between them; no newline at the end."""
    if host.booted is None:
        return NOT_BOOTED
    return _blocks(host, is_verbose)


def sysroot_text(host: Host, *, is_verbose: bool = False) -> str:
    """The deployments of a sysroot that is not the running system, in boot order."""
    return _blocks(host, is_verbose) or NOT_BOOTED


def _blocks(host: Host, is_verbose: bool) -> str:
    slots = [("staged", host.staged), ("booted", host.booted), ("rollback", host.rollback)]
    slots += [("other", entry) for entry in host.others]
    blocks = [_block(slot, entry, host, is_verbose) for slot, entry in slots if entry]
    blocks += map(_failed_block, host.failed)
    if is_verbose and host.explanation:
        blocks.append(_explanation_block(host.explanation))
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _block(slot: str, entry: Entry, host: Host, is_verbose: bool) -> list[str]:
    prefix = _PREFIXES[slot]
    if entry.image:
        title = f"{prefix} image"
        rows = _image_rows(entry.image, entry, slot, host, is_verbose)
        return [f"{title}: {printable(entry.image.display)}", *_aligned(rows, len(title))]
    if entry.ostree is not None:
        title = " Other ostree" if slot == "other" else f"{prefix} ostree"
        return [title, *_aligned(_ostree_rows(entry, entry.ostree, slot, host, is_verbose), len(title.encode()))]
    if entry.composefs is not None:
        title = f"{prefix} composefs"
        rows = [("Commit", str(entry.composefs.get("verity", "")))]
        return [] if slot == "other" else [title, *_aligned(rows, len(title.encode()))]
    return [f"Current {slot} state is unknown"]


def _failed_block(failed: FailedDeployment) -> list[str]:
    what = failed.reference.display if failed.reference else failed.deployment
    title = f"  Failed {'image' if failed.reference else 'deployment'}"
    rows = [("Digest", failed.digest)] if failed.digest else []
    return [f"{title}: {printable(what)}", *_aligned([*rows, ("Why", failure_text(failed))], len(title))]


def _explanation_block(explanation: Explanation) -> list[str]:
    title = "  Upgrades from"
    rows = list(explanation.texts.items())
    return [f"{title}: {printable(explanation.reference.display)}", *_aligned(rows, len(title))]


def failure_text(failure: Failure | FailedDeployment) -> str:
    """When and why, in one line."""
    kind = failure.kind if isinstance(failure.kind, str) else failure.kind.value
    what = "not made the default" if kind == FailureKind.FINALIZATION.value else "failed to boot"
    return f"{what}, {_whole_seconds(failure.time)}: {failure.reason}"


def _aligned(rows: list[Row], width: int) -> list[str]:
    return [f"{label:>{width}}: {printable(value)}" for label, value in rows]


def _image_rows(image: ImageStatus, entry: Entry, slot: str, host: Host, is_verbose: bool) -> list[Row]:
    rows = [("Digest", f"{image.digest} ({image.architecture})")]
    if entry.composefs:
        rows.append(("Verity", str(entry.composefs.get("verity", ""))))
    if image.version or image.timestamp:
        rows.append(("Version", version_text(image)) if image.version else ("Timestamp", version_text(image)))
    rows += _pinned_rows(entry)
    rows += _update_rows(image, entry.cached_update)
    rows += _overlay_rows(slot, host)
    return rows + (list(_verbose_rows(entry, slot)) if is_verbose else [])


def _ostree_rows(entry: Entry, ostree: Mapping[str, object], slot: str, host: Host, is_verbose: bool) -> list[Row]:
    rows = [("Commit", str(ostree.get("checksum", ""))), *_pinned_rows(entry), *_overlay_rows(slot, host)]
    if is_verbose:
        rows += [row for row in _verbose_rows(entry, slot) if row[0] != "Commit"]
    return rows


def _pinned_rows(entry: Entry) -> list[Row]:
    return [("Pinned", "yes")] if entry.is_pinned else []


def _update_rows(image: ImageStatus, update: ImageStatus | None) -> list[Row]:
    if update is None or update.digest == image.digest:
        return []
    news = ("UpdateVersion", version_text(update)) if update.version else ("Update", "Available")
    return [news, ("UpdateDigest", update.digest)]


def _overlay_rows(slot: str, host: Host) -> list[Row]:
    overlay = host.usr_overlay
    if slot != "booted" or overlay is None:
        return []
    return [("/usr overlay", f"{_WORDS[overlay.persistence]}, {_WORDS[overlay.access]}")]


def _verbose_rows(entry: Entry, slot: str) -> Iterator[Row]:
    if entry.ostree is not None:
        yield "StateRoot", str(entry.ostree.get("stateroot", ""))
        yield "Deploy serial", str(entry.ostree.get("deploySerial", ""))
        yield "Staged", _yes(slot == "staged")
        yield "Commit", str(entry.ostree.get("checksum", ""))
    if entry.image and entry.image.signature:
        yield "Signature", _signature(entry.image.signature)
    if entry.verdict:
        yield "Verdict", entry.verdict
    yield "Soft-reboot", _yes(entry.is_soft_reboot_capable)
    if entry.composefs is not None:
        yield "FsVerity", "Not Enforced" if entry.composefs.get("missingVerityAllowed") else "Enforced"
    if slot == "staged":
        yield "Download-only", _yes(entry.is_download_only)


def _signature(signature: str) -> str:
    kind, _, remote = signature.partition(":")
    return {"containerPolicy": "container-policy", "ostreeRemote": f"ostree-remote:{remote}"}.get(kind, kind)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def version_text(image: ImageStatus) -> str:
    """Version and time, `V (YYYY-MM-DDTHH:MM:SSZ)`, or the one of them that is known."""
    moment = _whole_seconds(image.timestamp) if image.timestamp else None
    if image.version:
        return f"{image.version} ({moment})" if moment else image.version
    return moment or ""


def _whole_seconds(timestamp: str) -> str:
    head, dot, tail = utc_time(timestamp).partition(".")
    return f"{head}Z" if dot and tail[:-1].isdigit() else head


def layer_difference(old: ImageSummary | None, new: ImageSummary) -> list[str]:
    """Three lines: how many layers, and how much, a new image has, drops and brings."""
    before: Mapping[Digest, int] = old.layer_sizes if old else {}
    after = new.layer_sizes
    removed = {digest: size for digest, size in before.items() if digest not in after}
    added = {digest: size for digest, size in after.items() if digest not in before}
    parts = (("Total new layers:", after), ("Removed layers:", removed), ("Added layers:", added))
    return [f"{label:<17} {len(sizes):<4}  Size: {size_text(sum(sizes.values()))}" for label, sizes in parts]


def size_text(size: int) -> str:
    """A size in decimal units, one digit after the point: `12.3 MB`."""
    if size < 1000:
        return "1 byte" if size == 1 else f"{size} bytes"
    value, units = size / 1000, ["kB", "MB", "GB", "TB", "PB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        del units[0]
    return f"{value:.1f} {units[0]}"


def printable(text: str) -> str:
    """Text that cannot steer a terminal: control and invisible characters are shown escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_json(value: object) -> str:
    """Canonical JSON that cannot steer a terminal either: also what JSON would pass on raw is escaped."""
    text = canonical_json(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
