"""When a part of a layer is worth more than the whole: what is configured, and the arithmetic."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

_LEAST_GAP, _LARGEST_GAP = 1 << 10, 1 << 20


@frozen
class Rule:
    """The link as it is assumed to be, so that the same update is fetched in the same way each time."""

    mode: Literal["auto", "always", "never"] = "auto"
    request_time: float = 0.04
    """seconds that one request takes besides its bytes"""
    speed: float = 6.25e6
    """bytes per second that all connections carry together"""
    connections: int = 4
    """ranges that are fetched at once"""

    @property
    def gap(self) -> int:
        """Bytes between two ranges that cost less than a request of their own: they are joined."""
        return int(min(max(self.request_time / self.connections * self.speed, _LEAST_GAP), _LARGEST_GAP))

    def seconds(self, size: int, requests: int) -> float:
        """How long so many bytes in so many requests take."""
        return size / self.speed + requests * self.request_time / self.connections

    def pays(self, size: int, requests: int, whole: int) -> bool:
        """Whether to fetch `size` bytes in `requests` ranges instead of one blob of `whole` bytes."""
        if self.mode == "auto":
            return self.seconds(size, requests) < self.seconds(whole, 1)
        return self.mode == "always" and size < whole
