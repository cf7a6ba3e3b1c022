"""The two ways in which a blob comes out of skopeo, each with its own sign that it was whole."""

from __future__ import annotations

import fcntl
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

from bootc.errors import FetchError, NetworkError, ProtocolError
from bootc.image import Descriptor
from bootc_skopeo.failures import failure
from bootc_skopeo.proxy import Proxy, close_all

CHUNK = 1 << 20
_ERROR_LIMIT = 64 << 10
_SLOWEST = 1000
"""bytes per second; who sends less for twice as long as silence may last counts as silent"""
RAW_LEVEL = 8
"""protocol 0.2.8 brought GetRawBlob"""


class Pipe(ABC):
    """A blob on its way. `is_whole` once the end was reached and skopeo said that nothing is missing."""

    is_whole: bool = False
    _is_finishing: bool
    """whether the proxy's next reply ends the data"""

    def __init__(self, proxy: Proxy, data: int, size: int | None) -> None:
        self._proxy, self._data, self._size = proxy, data, size
        self._is_open, self._received = True, 0
        self._slow_time, self._slow_bytes = 0.0, 0
        with suppress(OSError):  # more than an unprivileged user may have: the pipe stays as it is
            fcntl.fcntl(data, fcntl.F_SETPIPE_SZ, CHUNK)

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; b"" at the end. Raises FetchError if the blob was cut or damaged."""
        if self.is_whole or size == 0:
            return b""
        started = time.monotonic()
        data = self._proxy.read_data(self._data, CHUNK if size < 0 else size, self._is_finishing)
        self._received += len(data)
        if data:
            self._require_pace(time.monotonic() - started, len(data))
        if not data:
            self._finish()
            self.is_whole = True
        return data

    def close(self) -> None:
        """Give up the descriptors; may be called twice."""
        if self._is_open:
            self._is_open = False
            os.close(self._data)

    def _require_pace(self, waited: float, received: int) -> None:
        """A byte now and then is no progress. Time in which the caller did other things does not count."""
        self._slow_time += waited
        self._slow_bytes += received
        if self._slow_time > 2 * self._proxy.patience.data:
            if self._slow_bytes < _SLOWEST * self._slow_time:
                raise NetworkError(self._proxy.reference, "the server sends almost nothing")
            self._slow_time, self._slow_bytes = 0.0, 0

    @abstractmethod
    def _finish(self) -> None:
        """Raise the error that skopeo reports after the last byte."""


class FinishedPipe(Pipe):
    """GetBlob: skopeo checks size and digest, and tells the result in the reply to FinishPipe."""

    _is_finishing = True

    def __init__(self, proxy: Proxy, image: int, blob: Descriptor) -> None:
        # An unknown size is asked for as 0: skopeo sends everything, and complains at the end about the size alone.
        reply = proxy.call("GetBlob", image, str(blob.digest), blob.size or 0, descriptors=1)
        super().__init__(proxy, reply.descriptors[0], blob.size)
        try:
            proxy.send("FinishPipe", reply.pipe_id)
        except BaseException:
            self.close()
            raise

    def _finish(self) -> None:
        try:
            self._proxy.receive()
        except FetchError as error:
            harmless = f"expected 0 bytes in blob, got {self._received}"
            if self._size is not None or harmless not in error.problem:
                raise


class RawPipe(Pipe):
    """GetRawBlob: bytes as they come, and a second pipe for the error, if there is one."""

    _is_finishing = False

    def __init__(self, proxy: Proxy, image: int, blob: Descriptor) -> None:
        reply = proxy.call("GetRawBlob", image, str(blob.digest), descriptors=2)
        self._error = reply.descriptors[1]
        super().__init__(proxy, reply.descriptors[0], blob.size)

    def close(self) -> None:
        if self._is_open:
            close_all([self._error])
        super().close()

    def _finish(self) -> None:
        text = bytearray()
        while piece := self._proxy.read_data(self._error, _ERROR_LIMIT, self._is_finishing):
            text += piece
            if len(text) > _ERROR_LIMIT:
                break
        if text:
            raise _raw_failure(self._proxy.reference, bytes(text))
        if self._size is not None and self._received < self._size:
            # A process that dies says nothing: both pipes just end.
            raise NetworkError(self._proxy.reference, f"blob ended after {self._received} of {self._size} bytes")


def _raw_failure(reference: str, text: bytes) -> FetchError:
    try:
        document = json.loads(text)
        return failure(reference, str(document["message"]), str(document["code"]))
    except (ValueError, KeyError, TypeError) as error:
        broken = ProtocolError(reference, "skopeo: the reason why a blob ended early is not what the protocol says")
        broken.__cause__ = error
        return broken


def open_pipe(proxy: Proxy, image: int, blob: Descriptor) -> Pipe:
    """The blob in the best way that this skopeo knows."""
    kind: Callable[[Proxy, int, Descriptor], Pipe] = RawPipe if proxy.level >= RAW_LEVEL else FinishedPipe
    return kind(proxy, image, blob)
