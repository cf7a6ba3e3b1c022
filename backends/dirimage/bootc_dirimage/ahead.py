"""Reading ahead: a stream is decompressed and verified in one thread while another one writes what it holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from typing import TypeAlias

from bootc.fetcher import Readable

_CHUNK = 256 << 10
_PIECES = 16
_POLL = 0.05

_Pieces: TypeAlias = "Queue[bytes | BaseException]"


@contextmanager
def read_ahead(stream: Readable) -> Iterator[Readable]:
    """The same stream, of which up to 4 MiB are ready. Inside, nobody else may read it."""
    pieces: _Pieces = Queue(_PIECES)
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(stream, pieces, stop), name="read-ahead", daemon=True)
    thread.start()
    try:
        yield _Ready(pieces)
    finally:
        stop.set()
        while thread.is_alive():
            with suppress(Empty):
                pieces.get(timeout=_POLL)
        thread.join()


def _run(stream: Readable, pieces: _Pieces, stop: threading.Event) -> None:
    try:
        while not stop.is_set() and (piece := stream.read(_CHUNK)):
            pieces.put(piece)
        pieces.put(b"")
    except BaseException as error:
        pieces.put(error)


class _Ready:
    """What was read; a failure is raised where the stream would have gone on."""

    def __init__(self, pieces: _Pieces) -> None:
        self._pieces, self._piece, self._is_done = pieces, b"", False

    def read(self, size: int = -1, /) -> bytes:
        if not self._piece and not self._is_done:
            found = self._pieces.get()
            self._is_done = not found
            if isinstance(found, BaseException):
                self._is_done = True
                raise found
            self._piece = found
        end = len(self._piece) if size < 0 else size
        data, self._piece = self._piece[:end], self._piece[end:]
        return data
