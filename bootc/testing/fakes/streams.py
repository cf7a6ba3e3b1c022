"""Layers from memory, as the core hands them to a store: counted, and failing where a test says so."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from attrs import define, field, frozen

from bootc.errors import BootcError, IntegrityError, NetworkError
from bootc.fetcher import Readable
from bootc.image import Digest, Layer
from bootc.storage import LayerStreams
from bootc.testing.fakes.layers import FakeLayer

_CHUNK = 1 << 16


@frozen
class Cut:
    """The connection ends for good after so many bytes of a layer."""

    after: int = 700

    @property
    def error(self) -> BootcError:
        """What the core's streams raise then."""
        return NetworkError("registry.example/os", "the connection was cut, by the test")


@frozen
class Altered:
    """One bit of a layer is another; what the store reads looks well until the end of the stream."""

    at: int
    """the offset of the byte"""

    @property
    def error(self) -> BootcError:
        """What the core's streams raise at the end."""
        return IntegrityError("registry.example/os", "its content does not have the diffID, by the test")


Fault = Cut | Altered


@define
class MemoryStreams(LayerStreams):
    """Serves layers by diffID; checks at the end of a stream, as the core does, that all of it was right."""

    layers: Mapping[Digest, bytes]
    faults: Mapping[Digest, Fault] = field(factory=dict)
    during: Callable[[Layer], None] | None = None
    """called in the middle of every layer"""
    opened: list[Digest] = field(factory=list)
    """what was asked for, in order"""

    @classmethod
    def of(cls, layers: Iterable[FakeLayer], faults: Mapping[Digest, Fault] | None = None) -> MemoryStreams:
        """Streams of these layers."""
        return cls({layer.diff_id: layer.data for layer in layers}, faults or {})

    @contextmanager
    def open(self, layer: Layer) -> Iterator[Readable]:
        self.opened.append(layer.diff_id)
        data, fault = self.layers[layer.diff_id], self.faults.get(layer.diff_id)
        if isinstance(fault, Altered):
            data = data[: fault.at] + bytes([data[fault.at] ^ 1]) + data[fault.at + 1 :]
        stream = _Stream(data, self._middle_of(layer), fault if isinstance(fault, Cut) else None)
        yield stream
        while stream.read(_CHUNK):
            pass
        if fault:
            raise fault.error

    def _middle_of(self, layer: Layer) -> Callable[[], None]:
        return lambda: self.during(layer) if self.during else None


class _Stream:
    """Gives one part of a layer first, and then the rest."""

    def __init__(self, data: bytes, middle: Callable[[], None], cut: Cut | None) -> None:
        self._stream, self._middle, self._cut = io.BytesIO(data), middle, cut
        self._first = cut.after if cut else len(data) // 2

    def read(self, size: int = -1, /) -> bytes:
        left = self._first - self._stream.tell()
        if left > 0:
            return self._stream.read(left if size < 0 else min(size, left))
        if self._cut:
            raise self._cut.error
        if left == 0:
            self._middle()
            self._first = -1
        return self._stream.read(size)
