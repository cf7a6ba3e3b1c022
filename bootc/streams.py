"""From raw blobs to verified layers: fetched side by side, decompressed, checked against every digest."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from bootc.ahead import Ahead
from bootc.decompress import decompressed
from bootc.errors import BootcError, IntegrityError, NoSpaceError
from bootc.events import LayerFetched, LayerProgress, Report
from bootc.fetcher import Readable, Source
from bootc.image import Descriptor, Digest, Layer
from bootc.partial.download import PartialDownload
from bootc.partial.parts import discard
from bootc.partial.pulls import PartialPulls
from bootc.spool import CHUNK, Download, missing, prepare, prune
from bootc.spoolfile import Hash
from bootc.storage import LayerStreams

_REPORT_EVERY = 0.1
_LARGE = 1 << 20


class FetchedLayers(LayerStreams):
    """The layers of one source. A context manager: leaving it ends the fetching threads. In `abandoned`, the source
    must not wait for a server any more.

    Blobs of a remote source are fetched in the order of `needed`, some at a time, into `spool`, and read from there
    while they still arrive. What is there after a failure is continued next time, but a full filesystem gets it back at
    once: the system that runs on it needs the room. Memory does not grow with the image.
    """

    def __init__(
        self,
        source: Source,
        needed: Sequence[Layer],
        spool: Path,
        report: Report,
        check_cancelled: Callable[[], None],
        parallel: int = 4,
        partial: PartialPulls | None = None,
        abandoned: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._source, self._spool, self._report, self._check_cancelled = source, spool, report, check_cancelled
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="fetch")
        self._partial, self._needed = partial, () if source.is_local else needed
        self._abandoned = abandoned
        self._downloads: dict[Digest, Download | PartialDownload] = {}
        self._used: list[Download | PartialDownload] = []
        self._resources = ExitStack()

    def __enter__(self) -> FetchedLayers:
        self._downloads = {layer.blob.digest: self._download(layer.blob, self._report) for layer in self._needed}
        if self._partial and self._needed:
            arguments = (self._source, self._needed, self._spool, self._report, self._stop, self._download)
            self._downloads |= self._resources.enter_context(self._partial.downloads(*arguments))
        if self._downloads:
            prepare(self._spool, self._whole_blobs(), [download.blob for download in self._downloads.values()])
        for download in self._downloads.values():
            self._pool.submit(download.run)
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self._stop.set()
        with self._abandoned():
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._resources.close()
        if kind is None:
            self._forget_used()
        elif isinstance(kind, type) and issubclass(kind, NoSpaceError):
            with suppress(BootcError):
                prune(self._spool)

    def room(self) -> int:
        """The largest blob that the spool does not hold yet: it lies there until the store has its layer."""
        return max((missing(self._spool, [blob]) for blob in self._whole_blobs()), default=0)

    @contextmanager
    def open(self, layer: Layer) -> Iterator[Readable]:
        self._forget_used()
        name = f"{self._source.image.reference}: layer {layer.descriptor.digest.short}"
        ahead = Ahead(self._check_cancelled)
        apart = ahead.reading if _is_large(layer.blob) else nullcontext
        download = self._downloads.get(layer.blob.digest)
        with self._tar(layer, name, ahead.check) as tar:
            with apart(tar) as unpacked:
                content = _Digested(unpacked, layer.diff_id.algorithm, ahead.check)
                with apart(content) as stream:
                    yield stream
                    _drain(stream)
            with self._partial.proving(layer, download) if self._partial else nullcontext():
                content.require(layer.diff_id, name)
        if self._partial:
            self._partial.keep(self._source, layer, download, self._spool)
        if download:
            self._used.append(download)

    def _whole_blobs(self) -> list[Descriptor]:
        """What takes as much room in the spool as it has bytes; how much parts take is known only later."""
        return [download.blob for download in self._downloads.values() if isinstance(download, Download)]

    def _download(self, blob: Descriptor, report: Report) -> Download:
        return Download(self._source, blob, self._spool, report, self._stop)

    @contextmanager
    def _tar(self, layer: Layer, name: str, check: Callable[[], None]) -> Iterator[Readable]:
        """The layer, decompressed; `name` is for errors."""
        download = self._downloads.get(layer.blob.digest)
        if isinstance(download, PartialDownload):
            with download.tar(name, check) as tar:
                yield tar
            return
        with self._compressed(layer, download, check) as blob:
            yield decompressed(blob, name)

    @contextmanager
    def _compressed(self, layer: Layer, download: Download | None, check: Callable[[], None]) -> Iterator[Readable]:
        """The blob's own bytes; leaving it without an error means that they were verified to the last."""
        if download:
            with download.reader(check) as reader:
                yield reader
                _drain(reader)
            return
        with self._source.open_blob(layer.blob) as stream:
            local = _Local(stream, layer.blob, self._report)
            yield local
            _drain(local)
            local.require(str(self._source.image.reference))

    def _forget_used(self) -> None:
        """A store that asks for the next layer has the one before it: its blob is needed no more, nor what an earlier
        command left of it in parts. Where an image has a layer twice, the second is read from the source."""
        for download in self._used:
            download.forget()
            discard(self._spool, download.blob.digest)
            self._downloads = {digest: kept for digest, kept in self._downloads.items() if kept is not download}
        self._used.clear()


def _is_large(blob: Descriptor) -> bool:
    """Whether threads that decompress and hash ahead of the store are worth their while."""
    return blob.size is None or blob.size >= _LARGE


def _drain(stream: Readable) -> None:
    while stream.read(CHUNK):
        pass


class _Digested:
    """Content whose digest is taken while it is read."""

    def __init__(self, content: Readable, algorithm: str, check_cancelled: Callable[[], None]) -> None:
        self._content, self._check_cancelled = content, check_cancelled
        self._digest: Hash = hashlib.new(algorithm)

    def read(self, size: int = -1, /) -> bytes:
        self._check_cancelled()
        data = self._content.read(size)
        self._digest.update(data)
        return data

    def require(self, expected: Digest, name: str) -> None:
        """Raise IntegrityError unless all that was read has this digest."""
        if self._digest.hexdigest() != expected.hex:
            raise IntegrityError(name, "its content does not have the diffID that the image config names")


class _Local:
    """A blob that is read straight from its source: measured, hashed and reported here."""

    def __init__(self, stream: Readable, blob: Descriptor, report: Report) -> None:
        self._stream, self._blob, self._report = stream, blob, report
        self._digest: Hash = hashlib.new(blob.digest.algorithm)
        self._done, self._reported = 0, 0.0
        self._started = time.monotonic()

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(CHUNK if size < 0 else size)
        self._digest.update(data)
        self._done += len(data)
        if time.monotonic() - self._reported > _REPORT_EVERY:
            self._reported = time.monotonic()
            self._report(LayerProgress(str(self._blob.digest), self._done, self._blob.size))
        return data

    def require(self, reference: str) -> None:
        """Raise IntegrityError unless size and digest are the blob's."""
        if self._blob.size is not None and self._done != self._blob.size:
            problem = f"blob {self._blob.digest} has {self._done} bytes instead of {self._blob.size}"
            raise IntegrityError(reference, problem)
        if self._digest.hexdigest() != self._blob.digest.hex:
            raise IntegrityError(reference, f"blob {self._blob.digest} does not have the digest by which it is named")
        seconds = time.monotonic() - self._started
        self._report(LayerFetched(str(self._blob.digest), self._done, self._done, seconds=seconds))
