"""A blob as a stream that survives cut connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bootc.errors import IntegrityError
from bootc.image import Descriptor
from bootc_skopeo.connection import Connection
from bootc_skopeo.pipes import CHUNK, Pipe
from bootc_skopeo.pool import Pool
from bootc_skopeo.waiting import attempt


class BlobStream:
    """The blob from offset `start`. The proxy has no ranges: what is known already is read again and dropped."""

    def __init__(
        self, pool: Pool, blob: Descriptor, start: int, retries: Sequence[float], check_cancelled: Callable[[], None]
    ) -> None:
        self._pool, self._blob, self._position = pool, blob, start
        self._retries, self._check_cancelled = retries, check_cancelled
        self._connection: Connection | None = None
        self._pipe: Pipe | None = None

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; b"" at the end. Raises FetchError after the last retry."""
        return attempt(lambda: self._read(size), self._retries, self._check_cancelled)

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        if connection is not None:
            self._pool.give_back(connection, is_sound=pipe is not None and (pipe.is_whole or connection.is_shared))

    def _read(self, size: int) -> bytes:
        try:
            pipe = self._pipe or self._reopened()
            data = pipe.read(size)
        except BaseException:
            self.close()
            raise
        self._position += len(data)
        return data

    def _reopened(self) -> Pipe:
        self._connection = self._pool.take()
        self._pipe = self._connection.pipe(self._blob)
        left = self._position
        while left:
            data = self._pipe.read(min(left, CHUNK))
            if not data:
                reference = self._connection.proxy.reference
                raise IntegrityError(reference, f"blob {self._blob.digest} is shorter than {self._position} bytes")
            left -= len(data)
        return self._pipe
