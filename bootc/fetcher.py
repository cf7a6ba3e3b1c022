"""The fetch interface: from an image reference to manifest, config and raw blobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from bootc.image import Descriptor, Digest, Image, ImageReference
from bootc.platform import Platform


class Readable(Protocol):
    """A byte stream; `read` returns b"" at the end and raises a FetchError when the source fails."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; fewer do not mean the end."""


class Source(ABC):
    """An image that was resolved and accepted by the policy. Blobs are raw: the core verifies them."""

    image: Image
    is_local: bool = False
    """blobs are on this machine: reading one again costs nothing, so the core keeps no copy for resuming"""

    @abstractmethod
    def open_blob(self, blob: Descriptor, start: int = 0) -> AbstractContextManager[Readable]:
        """The blob's bytes from offset `start`, as served. Called from several threads at once.

        `start` is never beyond the size; a source that cannot seek reads past the beginning. Retries and resuming of
        cut connections happen inside. Raises FetchError.
        """


class Ranges(ABC):
    """Capability of a Source: parts of blobs, for pulls that fetch only what is not here yet."""

    @abstractmethod
    def open_range(self, blob: Descriptor, start: int, size: int) -> AbstractContextManager[Readable]:
        """Exactly `size` bytes of the blob from offset `start`, as served. Called from several threads at once.

        The range lies within the blob and is not empty. Retries and resuming of cut connections happen inside. Raises
        FetchError, also where the source serves no ranges: the core then fetches the whole blob.
        """


class Fetcher(ABC):
    """Speaks to registries, directories or other stores of images; knows nothing of where images go."""

    @abstractmethod
    def resolve(self, reference: ImageReference, platform: Platform) -> AbstractContextManager[Source]:
        """Find the image for this platform. The signature policy is enforced before this returns.

        `image.manifest` and `image.config` are verified against their digests. Raises FetchError.
        """

    @abstractmethod
    def close(self) -> None:
        """End connections and child processes; may be called twice."""


class Peek(ABC):
    """Capability `peek`: learn with one small request whether a reference moved."""

    @abstractmethod
    def peek(self, reference: ImageReference) -> Digest | None:
        """The digest the reference points to now (the index's, for multi-arch); None: cannot be known cheaply."""


class Explain(ABC):
    """Capability `explain`: tell people which configuration decides how an image is fetched."""

    @abstractmethod
    def explain(self, reference: ImageReference) -> Mapping[str, str]:
        """Short labels and texts, in the order to be shown: policy, servers, files with credentials.

        Sends no request and starts no program; names files, never what is secret in them. What is wrong with a file is
        said in its place and raises nothing.
        """
