"""Reading a part of a blob from a registry: a single range (RFC 9110, 14), continued where a connection is cut."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bootc.errors import ProtocolError
from bootc.image import Descriptor
from bootc_registry.answer import Answer
from bootc_registry.blobs import BlobReader, Failed, FailoverReader
from bootc_registry.client import RegistryClient
from bootc_registry.failures import failure

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


class RangeReader(BlobReader):
    """Bytes `start` up to `end` of a blob, and nothing but them: whatever else a server answers is an error."""

    def __init__(self, client: RegistryClient, blob: Descriptor, size: int, start: int, end: int) -> None:
        super().__init__(client, blob, end, start)
        self._whole, self._takes_ranges = size, False

    def _ask(self) -> Answer:
        fields = {"Range": f"bytes={self._position}-{self._size - 1}"}
        return self._client.send("GET", f"blobs/{self._blob.digest}", fields)

    def _require_usable(self, answer: Answer) -> None:
        source = self._client.source
        if answer.status in (200, 416):
            raise ProtocolError(source, f"{answer.host} does not serve parts of blobs")
        if answer.status != 206:
            raise failure(answer, source, f"a part of blob {self._blob.digest}")
        parsed = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        wanted = (str(self._position), str(self._size - 1))
        if parsed is None or (parsed[1], parsed[2]) != wanted or parsed[3] not in (str(self._whole), "*"):
            raise ProtocolError(source, f"{answer.host} answered another range than it was asked for")
        if answer.is_encoded or answer.length not in (None, self._size - self._position):
            raise ProtocolError(source, f"{answer.host} answered a range with another length than it has")


class FailoverRangeReader(FailoverReader):
    """The same from several servers: where one fails, the next goes on from there."""

    def __init__(
        self, clients: Sequence[RegistryClient], blob: Descriptor, size: int, start: int, end: int, failed: Failed
    ) -> None:
        self._whole = size
        super().__init__(clients, blob, end, start, failed)

    def _next(self) -> BlobReader:
        self._client = self._clients.pop(0)
        return RangeReader(self._client, self._blob, self._whole, self._position, self._size)
