"""One case with one fetcher: in a process of its own, whose time, memory and words are looked at."""

from __future__ import annotations

import logging
import os
import re
import resource
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from bootc.errors import BootcError
from bootc.fetcher import Fetcher
from bootc.image import ImageReference
from bootc.testing.child import in_child
from bootc.testing.fetcher_place import PATIENCE, Listener
from bootc.testing.hostile.case import Case
from bootc.testing.hostile.errands import Errand
from bootc.testing.hostile.scene import SIGNATURE, Scene

MEMORY_LIMIT = 200 << 20
"""bytes, of the fetcher's own process and of each that it starts"""


_END_OF_MEMORY = 1 << 30
"""bytes at which a fetcher that knows no limit fails, and not the machine"""


@frozen
class Result:
    """What came out."""

    found: Any = None
    """what the errand brought"""
    error: type[BaseException] | None = None
    message: str = ""
    told: str = ""
    """everything that was said: message, hint, events, logs, and what was printed"""
    memory: int = 0
    """bytes that the process grew at its peak, or the peak of its largest child"""


Prepare = Callable[[], tuple[Fetcher, Listener]]
"""opens the fetcher under test"""


def attempt(errand: Errand, prepare: Prepare, case: Case, reference: ImageReference, folder: Path) -> Result:
    """Send the fetcher. Raises ChildError if there is no end in time."""

    def work(fetcher: Fetcher, listener: Listener) -> Result:
        return Result(errand.go(fetcher, reference, folder, listener))

    return in_child(lambda: _watched(prepare, case, folder, work), PATIENCE)


def faults(errand: Errand, case: Case, scene: Scene, result: Result) -> list[str]:
    """What the fetcher did that it must not: sentences."""
    return [
        *_wrong_outcome(errand, case, scene, result),
        *_leaks(case, scene, result),
        *([f"{result.memory >> 20} MiB of memory"] if result.memory > MEMORY_LIMIT else []),
    ]


def _wrong_outcome(errand: Errand, case: Case, scene: Scene, result: Result) -> Iterator[str]:
    if result.error is not None:
        if not issubclass(result.error, case.outcome.errors):
            yield f"{result.error.__name__} instead of {case.outcome}: {result.told}"
        if not result.message.isprintable():
            yield f"a message that is not fit for a terminal: {result.message!r}"
        return
    if not case.outcome.is_right:
        yield f"an image instead of {case.outcome}"
    if result.found not in errand.right(scene):
        yield "something else than what is served"


def _leaks(case: Case, scene: Scene, result: Result) -> Iterator[str]:
    secrets = scene.secrets
    for secret in (*secrets, SIGNATURE):
        if secret in result.told:
            yield f"{secret} was told: {result.told}"
    for request in list(scene.elsewhere.received):
        allowed = scene.elsewhere.bearer is not None and request.path.startswith("/token")
        if not allowed and (found := [secret for secret in secrets if secret in request.text]):
            yield f"{found[0]} was sent to another host: {request.method} {request.path}"
    for request in list(scene.registry.received):
        if case.certificate not in (None, "good"):
            yield f"a request to a server that is not trusted: {request.method} {request.path}"
        if any(secret in request.path for secret in secrets):
            yield f"a secret in an address: {request.path}"
        if "cookie" in request.headers:
            yield "a cookie was kept"


# ---------------------------------------------------------------- in the child


def _watched(prepare: Prepare, case: Case, folder: Path, work: Callable[[Fetcher, Listener], Result]) -> Result:
    before = _status("VmRSS")
    resource.setrlimit(resource.RLIMIT_DATA, (_END_OF_MEMORY, _END_OF_MEMORY))
    words: list[str] = []
    with _listening(words, folder / "printed"), ExitStack() as stack:
        fetcher, listener = prepare()
        stack.enter_context(closing(fetcher))
        if case.stops_after is not None:
            timer = threading.Timer(case.stops_after, listener.is_cancelled.set)
            timer.daemon = True
            timer.start()
        result = _guarded(lambda: work(fetcher, listener))
    words += [*map(repr, listener.events), (folder / "printed").read_text(errors="replace")]
    memory = max(_status("VmHWM") - before, _largest_child(before))
    return evolve(result, told="\n".join([result.told, *words]), memory=memory)


def _guarded(work: Callable[[], Result]) -> Result:
    try:
        return work()
    except BootcError as error:
        return Result(error=type(error), message=f"{error} {error.hint or ''}", told=f"{error} {error.hint} {error!r}")
    except Exception as error:
        return Result(error=type(error), told=traceback.format_exc())


@contextmanager
def _listening(words: list[str], printed: Path) -> Iterator[None]:
    """Keep what is logged, and what is printed by this process or a child of it."""

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words.append(record.getMessage())

    keeper = Keeper(logging.INFO)
    logger = logging.getLogger()
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.close(file)
    yield
    logger.removeHandler(keeper)


def _status(name: str) -> int:
    """A line of proc_pid_status(5), in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _largest_child(own: int) -> int:
    """The peak of the largest child, or 0 if it cannot be told: what is forked counts as large as this process was."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    return peak if peak > max(own * 5 // 4, MEMORY_LIMIT) else 0
