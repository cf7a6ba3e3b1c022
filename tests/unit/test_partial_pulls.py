"""Partial pulls: the exact tar, with no more bytes than needed, whatever goes wrong on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from attrs import define, field

from bootc.durable import DirectoryVolume
from bootc.events import Event, LayerFetched
from bootc.partial import PartialPulls, Rule, local_contents
from bootc.state.contents import Contents
from bootc.streams import FetchedLayers
from tests.partial_layers import Chunked, FilesStore, RangesSource, imported, tar_of

ALWAYS = Rule(mode="always", request_time=0.0)


@define
class Machine:
    """What stays between two imports: the spool, and the index of contents."""

    root: Path
    refused: set[object] = field(factory=set)

    @property
    def contents(self) -> Contents:
        return Contents(DirectoryVolume(self.root), PurePosixPath("contents"), lambda: None)

    @contextmanager
    def pulls(self, present: Chunked | None, files: dict[str, bytes] | None, rule: Rule) -> Iterator[PartialPulls]:
        store = FilesStore({} if present is None else present.files if files is None else files)
        images = [imported([present.layer])] if present else []
        with local_contents(self.contents, store, images) as local:
            yield PartialPulls(self.contents, local, rule)

    def pull(
        self,
        source: RangesSource,
        wanted: Chunked,
        present: Chunked | None = None,
        files: dict[str, bytes] | None = None,
        rule: Rule = ALWAYS,
        report: Callable[[Event], None] = lambda event: None,
    ) -> bytes:
        """The tar that a store gets."""
        found = b""
        with self.pulls(present, files, rule) as pulls:
            streams = FetchedLayers(
                source, [wanted.layer], self.root / "spool", report, lambda: None, parallel=2, partial=pulls
            )
            with streams, streams.open(wanted.layer) as stream:
                while data := stream.read(10_000):
                    found += data
        return found


def _pair(directory: Path) -> tuple[Chunked, Chunked]:
    """Two versions of a layer: one file changed, one is new, one is gone."""
    files = {f"usr/share/{name:03}/file": os.urandom(5000 + name) for name in range(60)}
    old = Chunked.of(tar_of(files), directory)
    del files["usr/share/010/file"]
    files["usr/share/020/file"] = os.urandom(5500)
    files["usr/share/030/new"] = os.urandom(100)
    return old, Chunked.of(tar_of(dict(sorted(files.items()))), directory)


def test_only_what_changed_is_fetched(tmp_path: Path) -> None:
    old, new = _pair(tmp_path)
    machine = Machine(tmp_path / "machine")
    events: list[Event] = []
    assert machine.pull(old.source, old) == old.tar
    source = new.source
    assert machine.pull(source, new, old, report=events.append) == new.tar
    assert source.whole == 0
    assert source.fetched < len(new.blob) / 5
    fetched = [event for event in events if isinstance(event, LayerFetched)]
    assert [(event.fetched, event.reused) for event in fetched] == [(source.fetched, len(new.blob) - source.fetched)]
    assert not any((tmp_path / "machine/spool").iterdir())
