"""Reading a blob from a registry: cut connections are continued where they ended (RFC 9110, 14)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from bootc.errors import FetchError, IntegrityError, ProtocolError
from bootc.image import Descriptor
from bootc_registry.answer import Answer
from bootc_registry.client import RegistryClient
from bootc_registry.failures import failure
from bootc_registry.retry import Interruption

_CHUNK = 1 << 20
_NO_RANGES = frozenset({416, 501})
"""answers of servers that could give the whole blob, and no part of it"""
Failed: TypeAlias = Callable[[RegistryClient, FetchError], None]
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


class BlobReader:
    """One pass over a blob of known size. For one thread; it never gives more bytes than the size."""

    def __init__(self, client: RegistryClient, blob: Descriptor, size: int, start: int = 0) -> None:
        self._client, self._blob, self._size, self._position = client, blob, size, start
        self._tries = client.tries()
        self._takes_ranges = True
        self._answer: Answer | None = None

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, or all that is left; b"" at the end. Raises FetchError."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        while size and self._position < self._size:
            self._client.check()
            with self._tries.one():
                return self._receive(min(size, self._size - self._position))
        return b""

    def close(self) -> None:
        """Give the connection back."""
        answer, self._answer = self._answer, None
        if answer is not None:
            self._client.done(answer)

    def _receive(self, size: int) -> bytes:
        try:
            if self._answer is None:
                self._answer = self._open()
            data = self._answer.read(size)
            if not data:
                raise Interruption("the connection was cut")
        except Interruption:
            self.close()
            raise
        self._position += len(data)
        self._tries.progressed(len(data))
        if self._position == self._size:
            self._end(self._answer)
        return data

    def _end(self, answer: Answer) -> None:
        try:
            if not answer.is_at_end():
                raise self._wrong(f"is longer than {self._size} bytes")
        except Interruption:
            return  # Everything is here; how the connection ended does not matter.
        finally:
            self.close()

    def _open(self) -> Answer:
        answer = self._ask()
        if answer.status in _NO_RANGES and self._position and self._takes_ranges:
            self._client.done(answer)
            self._takes_ranges = False
            answer = self._ask()
        try:
            self._require_usable(answer)
            if answer.status == 200 and self._position:
                self._skip(answer, self._position)
        except BaseException:
            self._client.done(answer)
            raise
        return answer

    def _ask(self) -> Answer:
        fields = {"Range": f"bytes={self._position}-"} if self._position and self._takes_ranges else {}
        return self._client.send("GET", f"blobs/{self._blob.digest}", fields)

    def _require_usable(self, answer: Answer) -> None:
        match answer.status:
            case 200:
                expected = self._size
            case 206 if self._position:
                self._require_range(answer)
                expected = self._size - self._position
            case _:
                raise failure(answer, self._client.source, f"blob {self._blob.digest}")
        if answer.length is not None and answer.length != expected:
            if answer.is_encoded:
                raise ProtocolError(self._client.source, f"{answer.host} compresses blobs although asked not to")
            raise self._wrong(f"has another size than {self._size} bytes")

    def _require_range(self, answer: Answer) -> None:
        parsed = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        wanted = (str(self._position), str(self._size - 1))
        if parsed is None or (parsed[1], parsed[2]) != wanted or parsed[3] not in (str(self._size), "*"):
            raise ProtocolError(self._client.source, f"{answer.host} answered another range than it was asked for")

    def _skip(self, answer: Answer, size: int) -> None:
        """The server ignored the range: read past what is known already."""
        while size:
            self._client.check()
            data = answer.read(min(size, _CHUNK))
            if not data:
                raise Interruption("the connection was cut")
            size -= len(data)

    def _wrong(self, problem: str) -> FetchError:
        return IntegrityError(self._client.source, f"blob {self._blob.digest} {problem}")


class FailoverReader:
    """One pass over a blob that several servers have: where one fails, the next goes on from there.

    What comes together so is checked by the core like any other blob. `failed` is told of each server that is left.
    """

    def __init__(
        self, clients: Sequence[RegistryClient], blob: Descriptor, size: int, start: int, failed: Failed
    ) -> None:
        self._clients, self._blob, self._size, self._position = list(clients), blob, size, start
        self._failed = failed
        self._reader = self._next()

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, or all that is left; b"" at the end. Raises the last server's FetchError."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        while True:
            try:
                data = self._reader.read(size)
            except FetchError as error:
                self._reader.close()
                if not self._clients:
                    raise
                self._failed(self._client, error)
                self._client.warn(f"mirror {self._client.endpoint.authority}: {error.problem}")
                self._reader = self._next()
            else:
                self._position += len(data)
                return data

    def close(self) -> None:
        """Give the connection back."""
        self._reader.close()

    def _next(self) -> BlobReader:
        self._client = self._clients.pop(0)
        return BlobReader(self._client, self._blob, self._size, self._position)
