"""The spool: blobs on their way to the store, kept on the sysroot so that a cut download is continued.

A file named by the digest's hex digits is whole and was verified; `HEX.partial` is the beginning of a blob, with marks
behind it that tell how far it is right (`bootc.spoolfile`). Nothing here is trusted on the next run: every byte is
hashed again before it counts. So these files are no state of the system, and no volume (`bootc.durable`) records them:
whatever a power cut makes of them, it costs time at most.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from bootc.durable import DirectoryVolume, explain
from bootc.errors import CancelledError, IntegrityError, NoSpaceError
from bootc.events import LayerFetched, LayerProgress, Report
from bootc.fetcher import Readable, Source
from bootc.image import Descriptor
from bootc.spoolfile import PIECE, SpoolFile

CHUNK = 1 << 20
_WORTHWHILE = 64 << 10
"""bytes that are worth the work of writing them and of waking the reader"""
_PATIENCE = 0.1
"""seconds after which less than that is written, too"""
_REPORT_EVERY = 0.1
_POLL = 0.25
_LAST_WORDS = 5.0
"""seconds that a download gets for saying why its file is gone"""


class Download:
    """One blob on its way into the spool; it can be read while it arrives."""

    def __init__(self, source: Source, blob: Descriptor, spool: Path, report: Report, stop: threading.Event) -> None:
        self._source, self.blob, self._report, self._stop = source, blob, report, stop
        self._complete = spool / blob.digest.hex
        self._partial = spool / f"{blob.digest.hex}.partial"
        self._change = threading.Condition()
        self._readable = self._fetched = 0
        self._reported = 0.0
        self._is_done = False
        self._error: BaseException | None = None

    def run(self) -> None:
        """Fetch the blob; meant for a thread: every failure is kept for the reader."""
        try:
            self._run()
        except OSError as error:
            self._end(explain(error, str(self._partial)))
        except BaseException as error:
            self._end(error)
        else:
            self._end(None)

    def forget(self) -> None:
        """Remove the blob from the spool: the store has it."""
        self._complete.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what there is of the blob. The download must have ended."""
        self.forget()
        self._partial.unlink(missing_ok=True)

    @contextmanager
    def reader(self, check_cancelled: Callable[[], None]) -> Iterator[Readable]:
        """Read the blob from its beginning, waiting for what has not arrived yet."""
        self.wait_beyond(0, check_cancelled)
        descriptor = self._open()
        try:
            yield _Reader(self, descriptor, check_cancelled)
        finally:
            os.close(descriptor)

    def wait_beyond(self, position: int, check_cancelled: Callable[[], None]) -> int:
        """How many bytes can be read now: more than `position`, or all there are. Raises what ended the download."""
        with self._change:
            while self._readable <= position and not self._is_done:
                self._change.wait(_POLL)
                check_cancelled()
            if self._error and self._readable <= position:
                raise self._error
            return self._readable

    def _run(self) -> None:
        started = time.monotonic()
        if self._complete.exists():
            os.replace(self._complete, self._partial)
        with SpoolFile.open(self._partial, self.blob, self._check) as file:
            if not (file.known and self._continue(file)):
                self._fetch(file, 0)
            file.finish()
        os.replace(self._partial, self._complete)
        size = self._readable
        reused, seconds = max(size - self._fetched, 0), time.monotonic() - started
        self._report(LayerFetched(str(self.blob.digest), size, self._fetched, reused, seconds))

    def _continue(self, file: SpoolFile) -> bool:
        """Use what an earlier run left; its bytes are shown to nobody before the whole blob proved right."""
        try:
            self._fetch(file, file.known)
        except IntegrityError:
            file.restart()
            return False
        return True

    def _fetch(self, file: SpoolFile, start: int) -> None:
        position = start
        try:
            if self.blob.size is None or start < self.blob.size:
                with self._source.open_blob(self.blob, start) as stream:
                    for data in _gathered(stream):
                        position = self._take(file, data, position, start)
        finally:
            file.mark(position)
        self._require(file.digest.hexdigest(), position)
        self._show(position)

    def _take(self, file: SpoolFile, data: bytes, position: int, start: int) -> int:
        self._check()
        self._fetched += len(data)
        if self.blob.size is not None and position + len(data) > self.blob.size:
            raise self._wrong(f"is longer than {self.blob.size} bytes")
        position = file.append(data, position)
        if start == 0:
            self._show(position)
        if time.monotonic() - self._reported > _REPORT_EVERY:
            self._reported = time.monotonic()
            self._report(LayerProgress(str(self.blob.digest), position, self.blob.size, start))
        return position

    def _require(self, digest: str, size: int) -> None:
        if self.blob.size is not None and size != self.blob.size:
            raise self._wrong(f"has {size} bytes instead of {self.blob.size}")
        if digest != self.blob.digest.hex:
            raise self._wrong("does not have the digest by which it is named")

    def _check(self) -> None:
        if self._stop.is_set():
            raise CancelledError

    def _wrong(self, problem: str) -> IntegrityError:
        return IntegrityError(str(self._source.image.reference), f"blob {self.blob.digest} {problem}")

    def _open(self) -> int:
        for path in (self._complete, self._partial, self._complete):
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
        raise self._ended_with() or self._wrong("vanished from the spool")

    def _ended_with(self) -> BaseException | None:
        """What ended the download; it removes what proved wrong before it says so."""
        with self._change:
            self._change.wait_for(lambda: self._is_done, _LAST_WORDS)
            return self._error

    def _show(self, position: int) -> None:
        with self._change:
            self._readable = position
            self._change.notify_all()

    def _end(self, error: BaseException | None) -> None:
        if isinstance(error, IntegrityError):
            self._partial.unlink(missing_ok=True)
        with self._change:
            self._is_done, self._error = True, error
            self._change.notify_all()


class _Reader:
    def __init__(self, download: Download, file: int, check_cancelled: Callable[[], None]) -> None:
        self._download, self._file, self._check_cancelled = download, file, check_cancelled
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        end = self._download.wait_beyond(self._position, self._check_cancelled)
        limit = CHUNK if size < 0 else size
        data = os.pread(self._file, min(limit, end - self._position), self._position)
        self._position += len(data)
        return data


def _gathered(stream: Readable) -> Iterator[bytes]:
    """All that a stream gives, in larger parts where it comes in small ones; what came before a failure comes first."""
    parts, size, since = list[bytes](), 0, time.monotonic()
    try:
        for data in iter(lambda: stream.read(PIECE), b""):
            parts.append(data)
            size += len(data)
            if size >= _WORTHWHILE or time.monotonic() - since >= _PATIENCE:
                yield b"".join(parts)
                parts, size, since = [], 0, time.monotonic()
    except Exception:
        if parts:
            yield b"".join(parts)
        raise
    if parts:
        yield b"".join(parts)


def prepare(spool: Path, blobs: Collection[Descriptor], others: Collection[Descriptor] = ()) -> None:
    """Make the directory, and look whether there is room for these blobs; where it is short, all goes that is neither
    of them nor of `others`. Raises NoSpaceError, FileSystemError."""
    if not spool.is_dir():
        root = next(parent for parent in spool.parents if parent.is_dir())
        volume = DirectoryVolume(root)
        volume.make_directories(PurePosixPath(spool.parent.relative_to(root)))
        volume.make_directories(PurePosixPath(spool.relative_to(root)), 0o700)
    required = missing(spool, blobs)
    if required > DirectoryVolume(spool).free():
        _keep_only(spool, {blob.digest.hex for blob in (*blobs, *others)})
    require_room(spool, required)


def require_room(spool: Path, required: int) -> None:
    """Raise NoSpaceError unless there are so many bytes."""
    available = DirectoryVolume(spool).free()
    if required > available:
        raise NoSpaceError("the layers of the image", str(spool), available, required)


def missing(spool: Path, blobs: Collection[Descriptor]) -> int:
    """Bytes of these blobs that the spool does not hold yet."""
    return sum(max((blob.size or 0) - held(spool, blob), 0) for blob in blobs)


def held(spool: Path, blob: Descriptor) -> int:
    """Bytes of a blob that are here, as far as one can tell without reading them."""
    complete, partial = (spool / f"{blob.digest.hex}{suffix}" for suffix in ("", ".partial"))
    for path in (complete, partial, complete):  # A download may end between two looks.
        with suppress(OSError):
            found = path.lstat()
            allocated = found.st_blocks * 512 if path == partial else found.st_size  # A beginning can have holes.
            return min(allocated, found.st_size, blob.size or 0)
    return 0


def _keep_only(spool: Path, names: Collection[str]) -> None:
    """Remove what other images left: beginnings, parts, whole blobs."""
    try:
        for path in spool.iterdir():
            if path.name.partition(".")[0] not in names:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise explain(error, str(spool)) from error


def prune(spool: Path, max_age: float = 0.0) -> int:
    """Remove what has lain in the spool for more than `max_age` seconds; returns the bytes freed. Raises
    FileSystemError."""
    freed = 0
    try:
        for path in spool.iterdir() if spool.is_dir() else ():
            found = path.lstat()
            if time.time() - found.st_mtime >= max_age:
                path.unlink(missing_ok=True)
                freed += min(found.st_blocks * 512, found.st_size)
    except OSError as error:
        raise explain(error, str(spool)) from error
    return freed
