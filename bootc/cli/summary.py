"""`--json` of upgrade and switch: one object that tells what came of it and what it cost (docs/upgrade.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from bootc.cli.account import Account
from bootc.cli.terminal import out, out_lines
from bootc.events import LayerFetched
from bootc.image import Digest, ImageReference, ImageSummary
from bootc.partial.prediction import Prediction
from bootc.state import Failure
from bootc.status import failure_text, to_json
from bootc.updates import Check, Update

Document: TypeAlias = dict[str, Any]


def show(document: Document, lines: Iterable[str], *, is_json: bool) -> None:
    """Print the one for programs, or the other for people."""
    if is_json:
        out(to_json(document))
    else:
        out_lines(lines)


def update_document(update: Update, account: Account) -> Document:
    """The outcome of an upgrade or a switch."""
    deployment = update.deployment
    image = deployment.image if deployment else None
    return {
        "change": update.change.value,
        **_image(update.reference, image, update.failure, update.previous),
        "deployment": deployment.id if deployment else None,
        "downloadOnly": bool(deployment and deployment.is_locked),
        **_cost(account),
    }


def check_document(check: Check, account: Account) -> Document:
    """The outcome of `upgrade --check`."""
    news = "failed-before" if check.failure else "available"
    return {
        "change": news if check.image else "none",
        **_image(check.reference, check.image or check.previous, check.failure, check.previous),
        "prediction": prediction_document(check.prediction) if check.prediction else None,
        "requests": account.requests.total() or None,
        "seconds": _seconds(account),
    }


def prediction_document(prediction: Prediction) -> Document:
    """What an update will fetch of each layer, and in all."""
    return {
        "bytes": prediction.fetched,
        "requests": prediction.requests,
        "layers": [
            {
                "digest": str(layer.layer),
                "size": layer.size,
                "method": layer.method.value,
                "bytes": layer.fetched,
                "requests": layer.requests,
            }
            for layer in prediction.layers
        ],
    }


def _image(
    reference: ImageReference, image: ImageSummary | None, failure: Failure | None, previous: ImageSummary | None
) -> Document:
    digest: Digest | None = image.digest if image else failure.digest if failure else None
    return {
        "reference": str(reference),
        "signature": reference.signature,
        "digest": str(digest) if digest else None,
        "version": image.version if image else None,
        "timestamp": image.created if image else None,
        "previousDigest": str(previous.digest) if previous else None,
        "failure": failure_text(failure) if failure else None,
    }


def _cost(account: Account) -> Document:
    plan = account.plan
    return {
        "layersPresent": plan.layers_present if plan else 0,
        "bytesPresent": plan.bytes_present if plan else 0,
        "layersFetched": [_layer(layer, account) for layer in account.layers],
        "bytesFetched": account.fetched,
        "bytesReused": account.reused,
        "bytesSaved": account.saved,
        "requests": account.requests.total() or None,
        "seconds": _seconds(account),
    }


def _seconds(account: Account) -> dict[str, float]:
    return {phase.value: round(seconds, 3) for phase, seconds in account.seconds.items()}


def _layer(layer: LayerFetched, account: Account) -> Document:
    return {
        "digest": layer.digest,
        "size": layer.size,
        "bytesFetched": layer.fetched,
        "bytesReused": layer.reused,
        "bytesSaved": max(layer.size - layer.fetched, 0),
        "requests": account.requests[layer.digest] or None,
        "seconds": round(layer.seconds, 3),
    }
