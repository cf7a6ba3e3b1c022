"""What can be wrong with an image: its name, the way to it, and what it holds."""

from __future__ import annotations

from bootc.errors.base import BootcError


class ReferenceError(BootcError):
    """Text that is no image reference or digest, or names an unknown transport."""

    usual_hint = "check how it is written"

    def __init__(self, text: str, problem: str, hint: str | None = None) -> None:
        self.text, self.problem = text, problem
        super().__init__(f"invalid image reference {text!r}: {problem}", hint)


class FetchError(BootcError):
    """An image could not be fetched. `reference` is the logical one, never a mirror's or a URL with secrets."""

    def __init__(self, reference: str, problem: str, hint: str | None = None) -> None:
        self.reference, self.problem = reference, problem
        super().__init__(f"{reference}: {problem}", hint)


class NotFoundError(FetchError):
    """The registry or directory answered, and has no such image or blob."""

    usual_hint = "check the name and the tag"


class AuthenticationError(FetchError):
    """The registry wants credentials, or refused the ones it got."""

    usual_hint = "check the credentials for this registry"


class PolicyError(FetchError):
    """The signature policy of this machine does not accept the image, or cannot be evaluated."""

    usual_hint = "see containers-policy.json(5)"


class DowngradeError(PolicyError):
    """The image is older than one that was accepted before, and the guard against downgrades is on."""

    def __init__(self, reference: str, problem: str) -> None:
        super().__init__(reference, problem, "--allow-downgrade accepts it; `bootc rollback` is always possible")


class NetworkError(FetchError):
    """No connection, a time-out, or a server that failed after all retries."""

    usual_hint = "check the network and the address, then try again"


class ProtocolError(FetchError):
    """The other side answered something that its protocol does not allow."""

    usual_hint = "check that this is the address of a registry, and that the image was pushed whole"


class IntegrityError(FetchError):
    """Content does not have the digest or size by which it was named."""

    usual_hint = "try again; if it stays so, push the image again"


class RebuiltLayerError(IntegrityError):
    """A layer that was put together from parts does not have its diffID; another import fetches it whole."""

    def __init__(self, reference: str) -> None:
        super().__init__(reference, "put together from parts, a layer does not have the content that the image names")


class UnsupportedError(FetchError):
    """A form of image, media type or transport that this fetcher does not handle."""

    usual_hint = "push the image in another form: OCI, with layers in gzip or zstd"


class ImageError(BootcError):
    """The image was fetched but cannot be installed."""

    usual_hint = "mend the image and build it again"

    def __init__(self, image: str, problem: str, hint: str | None = None) -> None:
        self.image, self.problem = image, problem
        super().__init__(f"{image}: {problem}", hint)


class LayerError(BootcError):
    """A tar entry that is refused. `entry` is its name, escaped so that it is safe on a terminal."""

    usual_hint = "build the image again; nothing of this layer is used"

    def __init__(self, entry: str, problem: str, hint: str | None = None) -> None:
        self.entry, self.problem = entry, problem
        super().__init__(f"layer entry {entry}: {problem}", hint)
