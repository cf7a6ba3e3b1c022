"""Partial pulls of one import: which layers come in parts, and what is kept of every layer for the next update."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import field, frozen

from bootc.errors import BootcError, IntegrityError, RebuiltLayerError
from bootc.events import Report
from bootc.fetcher import Ranges, Source
from bootc.image import Descriptor, Digest, Layer
from bootc.partial.annotations import locate
from bootc.partial.download import PartialDownload, Surroundings, Whole
from bootc.partial.entries import Unusable
from bootc.partial.local import LocalContents
from bootc.partial.recording import record_whole
from bootc.partial.rule import Rule
from bootc.partial.tables import Table
from bootc.partial.transfer import Link
from bootc.state.contents import Contents


@frozen
class PartialPulls:
    """What the core needs to pull layers in parts into one store."""

    contents: Contents
    local: LocalContents
    rule: Rule = field(factory=Rule)
    refused: set[Digest] = field(factory=set)
    """diffIDs of layers that proved wrong when they were put together: they are fetched whole from then on"""

    @contextmanager
    def downloads(
        self,
        source: Source,
        layers: Iterable[Layer],
        spool: Path,
        report: Report,
        stop: threading.Event,
        new_whole: Callable[[Descriptor, Report], Whole],
    ) -> Iterator[Mapping[Digest, PartialDownload]]:
        """Those of the layers that may come in parts, by the digests of their blobs. Their `run` must have ended when
        this ends."""
        if not isinstance(source, Ranges) or source.is_local or self.rule.mode == "never" or self.local.is_empty:
            yield {}
            return
        with ThreadPoolExecutor(self.rule.connections, thread_name_prefix="fetch-parts") as executor:
            link = Link(source, str(source.image.reference), executor, stop, report)
            around = Surroundings(link, self.local, self.rule, spool)
            found = dict(filter(None, (self._download(around, layer, new_whole) for layer in layers)))
            try:
                yield found
            finally:
                for download in found.values():
                    download.close()

    @contextmanager
    def proving(self, layer: Layer, download: object) -> Iterator[None]:
        """Where the digest of a layer's tar is compared. A wrong one of what was put together here is no failure of the
        image: RebuiltLayerError asks for another import, in which this layer comes whole."""
        try:
            yield
        except IntegrityError as error:
            if not (isinstance(download, PartialDownload) and download.is_rebuilt):
                raise
            self.refused.add(layer.diff_id)
            download.discard_parts()
            raise RebuiltLayerError(error.reference) from error

    def keep(self, source: Source, layer: Layer, download: object, spool: Path) -> None:
        """Remember what a layer holds, after its tar proved right. Failures cost the next update bytes, no more."""
        with suppress(BootcError, OSError, Unusable):
            if isinstance(download, PartialDownload) and download.record is not None:
                record, download.record = download.record, None  # It is large, and downloads stay until the end.
                self.contents.write(layer.diff_id, record)
            elif source.is_local:
                self._keep_local(source, layer)
            else:
                self._keep_spooled(layer, spool)

    def _download(
        self, around: Surroundings, layer: Layer, new_whole: Callable[[Descriptor, Report], Whole]
    ) -> tuple[Digest, PartialDownload] | None:
        location = None if layer.diff_id in self.refused else locate(layer)
        if location is None:
            return None
        return layer.blob.digest, PartialDownload(around, layer, location, lambda report: new_whole(layer.blob, report))

    def _keep_spooled(self, layer: Layer, spool: Path) -> None:
        location = locate(layer)
        if location is None:
            return
        descriptor = _open_blob(spool, layer.blob.digest)
        try:
            record = record_whole(Table(location, lambda offset, size: os.pread(descriptor, size, offset)))
        finally:
            os.close(descriptor)
        self.contents.write(layer.diff_id, record)

    def _keep_local(self, source: Source, layer: Layer) -> None:
        location = locate(layer)
        if location is None or not isinstance(source, Ranges):
            return
        ranges: Ranges = source

        def read_at(offset: int, size: int) -> bytes:
            if not size:
                return b""
            with ranges.open_range(layer.blob, offset, size) as stream:
                return b"".join(iter(lambda: stream.read(size), b""))

        self.contents.write(layer.diff_id, record_whole(Table(location, read_at)))


def _open_blob(spool: Path, digest: Digest) -> int:
    """A verified blob in the spool: its download is about to give it its last name."""
    for name in (digest.hex, f"{digest.hex}.partial"):
        with suppress(FileNotFoundError):
            return os.open(spool / name, os.O_RDONLY | os.O_CLOEXEC)
    return os.open(spool / digest.hex, os.O_RDONLY | os.O_CLOEXEC)
