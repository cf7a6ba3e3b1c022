"""One ordinary layer into one tree: a feeder thread writes a cleaned tar stream, which libostree reads."""

from __future__ import annotations

import contextlib
import socket
import threading

from bootc.fetcher import Readable
from bootc.layers import END_OF_ARCHIVE, EntryKind, padding, read_layer, write_entry
from bootc_ostree.filter import LayerFilter
from bootc_ostree.glib import GLib, OSTree

_SO_SNDBUFFORCE = 32
_IN_FLIGHT = 4 << 20
_BUFFER = 1 << 16


def write_tree(repo: OSTree.Repo, stream: Readable, filter: LayerFilter) -> OSTree.RepoFile:
    """Write the objects of a layer inside a transaction; returns the root for a commit.

    libostree takes a stream that ends too early for a whole one, so what the feeder met is looked at before anything
    is made of the tree: whatever it raised is raised here.
    """
    tree = OSTree.MutableTree.new()
    reader, writer = _channel()
    feeder = _Feeder(stream, filter, writer.detach())
    feeder.start()
    failure: GLib.Error | None = None
    try:
        repo.write_archive_to_mtree_from_fd(reader.fileno(), tree, None, True, None)
        while reader.recv(_BUFFER):
            pass
    except GLib.Error as error:
        failure = error
    finally:
        reader.close()
        feeder.join()
    feeder.raise_first(failure)
    return repo.write_mtree(tree, None)[1]


def _channel() -> tuple[socket.socket, socket.socket]:
    """The two ends of a stream that holds some megabytes.

    libarchive reads 8 KiB at a time. A pipe would wake the feeder after each of them; a socket does so when most of
    what it holds was read, which saves nine of ten changes between the threads.
    """
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(PermissionError):
        writer.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _IN_FLIGHT)
    return reader, writer


class _Feeder(threading.Thread):
    """Reads, checks and rewrites a layer while libostree stores it."""

    def __init__(self, stream: Readable, filter: LayerFilter, writer: int) -> None:
        super().__init__(name="ostree-feeder", daemon=True)
        self._stream, self._filter, self._writer = stream, filter, writer
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            with open(self._writer, "wb", _BUFFER) as pipe:
                for source, content in read_layer(self._stream):
                    for entry, body in self._filter.rewrite(source, content):
                        pipe.write(write_entry(entry))
                        if entry.kind is EntryKind.FILE and entry.size:
                            body.copy_to(pipe.write)
                            pipe.write(padding(entry.size))
                pipe.write(END_OF_ARCHIVE)
        except BaseException as error:
            self._error = error

    def raise_first(self, failure: GLib.Error | None) -> None:
        """Raise what went wrong here, or else what libostree met: a broken connection is only the echo of that."""
        if self._error and not (failure and isinstance(self._error, ConnectionError)):
            raise self._error from failure
        if failure:
            raise failure
