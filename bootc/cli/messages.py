"""What upgrade, switch and rollback say about their outcome, line by line."""

from __future__ import annotations

from bootc.image import ImageReference, ImageSummary
from bootc.partial.prediction import Method, Prediction
from bootc.state import Failure
from bootc.status import failure_text, layer_difference, size_text
from bootc.updates import Change, Check, Update

_PLAIN = {
    Change.NONE: "No update available.",
    Change.STAGED_BEFORE: "Staged update present, not changed",
    Change.LOCKED: "Image downloaded, but will not be applied on reboot",
    Change.UNLOCKED: "Staged deployment will now be applied on reboot",
    Change.UNCHANGED_REFERENCE: "Image specification is unchanged.",
}


def check_lines(check: Check) -> list[str]:
    """`upgrade --check`."""
    if check.image is None:
        return [f"No changes in: {check.reference.short}"]
    news = [f"Update available for: {check.reference.short}", *_image_lines(check.image)]
    failed = [f"  Not staged again: {failure_text(check.failure)}"] if check.failure else []
    cost = _cost_lines(check.prediction) if check.prediction else []
    return news + failed + layer_difference(check.previous, check.image) + cost


def _cost_lines(prediction: Prediction) -> list[str]:
    """As the lines of the layers above them; what parts of layers save, or what the spool holds, is told."""
    saved = prediction.size - prediction.fetched
    how = "in parts" if any(layer.method is Method.PARTS for layer in prediction.layers) else "continued"
    parts = f" ({how}; {size_text(saved)} less)" if saved > 0 else ""
    return [f"{'To be fetched:':<17} {len(prediction.layers):<4}  Size: {size_text(prediction.fetched)}{parts}"]


def update_lines(update: Update) -> list[str]:
    """`upgrade` and `switch`."""
    if update.change in _PLAIN:
        return [_PLAIN[update.change]]
    if update.failure:
        return _failed_lines(update.reference, update.failure)
    is_staged = update.change is Change.STAGED
    lines = [f"{'Queued for next boot' if is_staged else 'Deployed'}: {update.reference.short}"]
    deployment = update.deployment
    if deployment and deployment.image:
        lines += [*_image_lines(deployment.image), *layer_difference(update.previous, deployment.image)]
        if deployment.is_locked:
            lines.append(_PLAIN[Change.LOCKED])
    if not is_staged:
        lines.append("This sysroot is not booted: the new deployment is its default now.")
    return lines


def downloaded_lines(update: Update) -> list[str]:
    """`upgrade --from-downloaded`."""
    if update.change is Change.STAGED_BEFORE:
        return ["Staged deployment is already set to apply on reboot"]
    return update_lines(update)


def rollback_lines(is_undo: bool) -> list[str]:
    """`rollback`."""
    if is_undo:
        return ["notice: Reverting queued rollback state", "Next boot: current deployment"]
    return ["Next boot: rollback deployment"]


def _failed_lines(reference: ImageReference, failure: Failure) -> list[str]:
    return [
        f"Not staged: {reference.short} failed to boot here before",
        f"  Digest: {failure.digest}",
        f"  Why: {failure_text(failure)}",
        "A newer image will be staged again; --retry-failed stages this one.",
    ]


def _image_lines(image: ImageSummary) -> list[str]:
    version = [f"  Version: {image.version}"] if image.version else []
    return [*version, f"  Digest: {image.digest}"]
