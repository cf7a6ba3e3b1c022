"""One layer on its way in parts: planned and fetched in a thread, then put together as it is read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from attrs import evolve, frozen

from bootc.decompress import decompressed
from bootc.errors import FetchError, FileSystemError
from bootc.events import Event, LayerFetched, Notice, Report
from bootc.fetcher import Readable
from bootc.image import Layer
from bootc.partial.annotations import TableLocation
from bootc.partial.entries import Unusable
from bootc.partial.joined import JoinedTar
from bootc.partial.local import LocalContents
from bootc.partial.parts import PartialBlob, discard
from bootc.partial.plan import Plan, Span, plan, table_span
from bootc.partial.rebuild import Rebuilder
from bootc.partial.rule import Rule
from bootc.partial.split import SplitHeaders
from bootc.partial.tables import Table
from bootc.partial.transfer import Link, Transfer
from bootc.spool import missing, require_room
from bootc.state.contents import ContentsWriter

_CHUNK = 256 << 10
_POLL = 0.25
_LATE_LIMIT = 64
"""pieces that are fetched one by one because a present image lacks what it should have"""


class Whole(Protocol):
    """The download of the whole blob, for where its parts do not do; see `bootc.spool.Download`."""

    def run(self) -> None:
        """Fetch it; failures are kept for the reader."""

    def reader(self, check_cancelled: Callable[[], None], /) -> AbstractContextManager[Readable]:
        """Its bytes, as they arrive."""

    def forget(self) -> None:
        """Remove it from the spool."""

    def discard(self) -> None:
        """Remove also what there is of it."""


@frozen
class Surroundings:
    """What the layers of one import have in common."""

    link: Link
    local: LocalContents
    rule: Rule
    spool: Path


class PartialDownload:
    """A layer that has a table of contents. `run` is for a thread, `tar` for the store that reads it."""

    def __init__(
        self, around: Surroundings, layer: Layer, location: TableLocation, new_whole: Callable[[Report], Whole]
    ) -> None:
        self._around, self._layer, self._location = around, layer, location
        self.blob = layer.blob
        self._whole = new_whole(self._report_whole)
        self._transfer: Transfer | None = None
        self._plan = Plan(())
        self._is_planned = self._is_begun = False
        self._late = 0
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._late_thread: threading.Thread | None = None
        self.record: ContentsWriter | None = None
        """what became known of the layer while it was put together; None if it was read as a whole. True only if the
        tar proves right"""

    def run(self) -> None:
        """Fetch what is needed. What keeps the parts from being used leads to the whole blob, never to an error."""
        try:
            self._is_planned = self._try_parts()
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()
        if not self._is_planned and self._error is None:
            self._whole.run()

    @contextmanager
    def tar(self, name: str, check_cancelled: Callable[[], None]) -> Iterator[Readable]:
        """The layer's tar, unverified where it was put together. `name` is for errors."""
        while not self._ready.wait(_POLL):
            check_cancelled()
        if self._error is not None:
            raise self._error
        if not self._is_planned or self._transfer is None or self._late_thread is not None:
            with self._open_whole(name, check_cancelled) as tar:
                yield tar
            return
        self._is_begun = True
        with ExitStack() as stack:
            pieces = self._rebuilt(self._transfer)
            joined = JoinedTar(pieces, lambda error: self._late_whole(error, name, check_cancelled), stack)
            yield joined
            if joined.is_rebuilt:
                self._transfer.end()
            else:
                self.record = None

    @property
    def is_rebuilt(self) -> bool:
        """Whether a part of the tar, at least, was put together here."""
        return self._is_begun

    def forget(self) -> None:
        """Remove it from the spool, with what an earlier run left of the whole: the store has it."""
        self.discard()

    def discard(self) -> None:
        """Remove what there is of it. `run` must have ended, and `tar`."""
        self._whole.discard()
        self.discard_parts()

    def discard_parts(self) -> None:
        """Remove what came in parts. `run` must have ended, and `tar`."""
        self.close()
        discard(self._around.spool, self._layer.blob.digest)

    def close(self) -> None:
        """Leave what there is for another run. `run` must have ended."""
        if self._late_thread is not None:
            self._late_thread.join()
        if self._transfer is not None:
            self._transfer.parts.close()

    def _try_parts(self) -> bool:
        """Fetch what is missing, and answer with True; or see to it that there is room for the whole blob."""
        try:
            if self._prepare():
                return True
        except (Unusable, FetchError, FileSystemError) as error:
            self._explain(error)
        require_room(self._around.spool, missing(self._around.spool, [self.blob]))
        return False

    def _prepare(self) -> bool:
        """Fetch the table and what it shows to be missing; False if the whole blob costs less."""
        around, blob = self._around, self._layer.blob
        size = blob.size or 0
        table_part, left = table_span(self._location), missing(around.spool, [blob])
        if around.local.is_empty or not around.rule.pays(table_part.size, 2, left):
            return False
        parts = PartialBlob(around.spool, blob.digest, size)
        self._transfer = Transfer(around.link, blob, size, parts)
        table = Table(self._location, parts.read)
        self._transfer.fetch([table_part])
        if not table.is_right():
            self._transfer.fetch_again(table_part)  # It may have come from an earlier run, and be damaged.
            table.require()
        self._plan = plan(table.pieces(), around.local, around.rule, self._location.split)
        needed = self._plan.spans
        lacking = [part for span in needed for part in parts.missing(span)]
        fetched = sum(part.size for part in lacking)
        if not around.rule.pays(fetched, len(lacking), left):
            return False
        require_room(around.spool, fetched)
        self._transfer.fetch(needed)
        return True

    def _rebuilt(self, transfer: Transfer) -> Iterator[bytes]:
        self.record = ContentsWriter()
        split = self._location.split if self._plan.uses_split else None
        headers = SplitHeaders(transfer.parts.read, split) if split else None
        rebuilder = Rebuilder(transfer.parts, self._around.local, self._fetch_late, self.record, headers)
        return rebuilder.tar(Table(self._location, transfer.parts.read).pieces())

    def _fetch_late(self, span: Span) -> None:
        """A present image lacks what it was said to have, or what was here is damaged."""
        self._late += 1
        if self._late > _LATE_LIMIT or self._transfer is None:
            raise Unusable("too much of the present images is gone or different")
        self._transfer.fetch_again(span)

    @contextmanager
    def _open_whole(self, name: str, check_cancelled: Callable[[], None]) -> Iterator[Readable]:
        with self._whole.reader(check_cancelled) as reader:
            yield decompressed(reader, name)
            while reader.read(_CHUNK):
                pass

    @contextmanager
    def _late_whole(self, error: Exception, name: str, check_cancelled: Callable[[], None]) -> Iterator[Readable]:
        """The parts failed while they were put together."""
        self._explain(error)
        self._late_thread = threading.Thread(target=self._whole.run, name="fetch-whole")
        self._late_thread.start()
        with self._open_whole(name, check_cancelled) as tar:
            yield tar

    def _explain(self, error: Exception) -> None:
        problem = error.problem if isinstance(error, FetchError) else str(error)
        name = self._layer.descriptor.digest.short
        self._around.link.report(Notice(f"layer {name} is fetched whole: {problem}"))

    def _report_whole(self, event: Event) -> None:
        """What was fetched in parts before counts, too."""
        if isinstance(event, LayerFetched) and self._transfer is not None:
            event = evolve(event, fetched=event.fetched + self._transfer.fetched)
        self._around.link.report(event)
