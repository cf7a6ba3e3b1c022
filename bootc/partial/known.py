"""What of a layer need not be fetched: the question that plans and predictions ask."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Known(ABC):
    """What is here, or is assumed to be here. Digests are 32 bytes of SHA-256."""

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether nothing is here, so that no question need be asked."""

    @abstractmethod
    def has_content(self, digest: bytes, size: int) -> bool:
        """Whether a present file has this content, or a part of one that a chunk is cut from."""

    @abstractmethod
    def has_gap(self, key: bytes) -> bool:
        """Whether the headers between two contents are known; see `bootc.partial.table.Gap` for the key."""


class Nothing(Known):
    """Where nothing is here yet."""

    is_empty = True

    def has_content(self, digest: bytes, size: int) -> bool:
        return False

    def has_gap(self, key: bytes) -> bool:
        return False
