"""`--progress-fd`: events as JSON lines for another program, protocol version 0.1.0.

`Start` comes lazily, before the first other line. Byte counts are lossy (at most five lines a second, and none while
the reader does not read); the end of a layer and steps are never left out. Numbers of bytes and steps are those that
are to be fetched; what was there before stands in the fields that end in `Cached`. Consumers must tolerate tasks and
subtasks that they do not know.

Ours, beyond that protocol: `bytesFetched` (what really came) and `requests` of the whole and of each layer, the
`bytesReused` of the whole, which are `bytesCached` of each layer, and the `seconds` of a layer that is finished.
`requests` is absent where the fetcher does not tell of any.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from bootc.cli.terminal import note
from bootc.errors import BootcError
from bootc.events import (
    Event,
    FetchPlanned,
    LayerFetched,
    LayerProgress,
    Phase,
    PhaseFinished,
    PhaseStarted,
    RequestMade,
)
from bootc.status.text import printable_json

VERSION = "0.1.0"
INTERVAL = 0.2
"""seconds between two lossy lines, at least"""

_STAGING = {
    Phase.STAGE: ("deploying", "Deploying Image"),
    Phase.FINALIZE: ("finalizing", "Finalizing Deployment"),
    Phase.CLEAN: ("cleanup", "Removing Old Images"),
}
_STEPS = 2
"""staging and cleaning; a sysroot that does not run is finalized, too"""


class JsonLines:
    """Writes one JSON object per line to a pipe; after a failed write it is silent."""

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._descriptor, self._clock = descriptor, clock
        self._is_started = self._is_broken = False
        self._last = float("-inf")
        self._image = ""
        self._requests = Counter[str]()
        self._fetch: _Fetch | None = None
        self._steps: list[tuple[Phase, bool]] = []

    @classmethod
    def open(cls, descriptor: int) -> JsonLines:
        """Check that the descriptor is a pipe that we were given. Raises BootcError."""
        try:
            is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        except OSError as error:
            raise BootcError(f"Cannot use fd {descriptor} for progress JSON") from error
        if not is_pipe:
            raise BootcError(f"Cannot use fd {descriptor} for progress JSON: not a pipe")
        return cls(descriptor)

    def __call__(self, event: Event) -> None:
        match event:
            case FetchPlanned():
                self._image = event.image
                self._fetch = _Fetch(event, self._requests) if event.layers_needed else None
            case RequestMade():
                self._requests[event.digest] += 1
            case LayerProgress() if self._fetch is not None:
                self._fetch.layers[event.digest] = event
                self._show_bytes(self._fetch, event.digest)
            case LayerFetched() if self._fetch is not None:
                self._show_layer(self._fetch, event)
            case PhaseFinished(phase=Phase.IMPORT) if self._fetch is not None:
                self._show_import(self._fetch, 1)
                self._fetch = None
            case PhaseStarted() if event.phase in _STAGING:
                self._steps.append((event.phase, False))
                self._show_staging()
            case PhaseFinished() if (event.phase, False) in self._steps:
                self._steps[self._steps.index((event.phase, False))] = (event.phase, True)
                self._show_staging()
            case _:
                return

    def close(self) -> None:
        """The descriptor belongs to whoever gave it to us."""

    def _show_bytes(self, fetch: _Fetch, digest: str) -> None:
        now = self._clock()
        if now - self._last >= INTERVAL and self._is_writable():
            self._last = now
            self._write(fetch.line(digest))

    def _show_layer(self, fetch: _Fetch, event: LayerFetched) -> None:
        fetch.layers[event.digest] = event
        self._last = self._clock()
        self._write(fetch.line())
        if fetch.is_complete:
            self._show_import(fetch, 0)

    def _show_import(self, fetch: _Fetch, step: int) -> None:
        description = "Importing Image"
        subtask = {"subtask": "importing", "description": description, "id": "importing", "completed": step == 1}
        self._write(_steps("importing", description, fetch.image, step, 1, [subtask]))

    def _show_staging(self) -> None:
        subtasks = [
            {"subtask": name, "description": text, "id": name, "completed": is_done}
            for (name, text), is_done in ((_STAGING[phase], is_done) for phase, is_done in self._steps)
        ]
        done = sum(is_done for _, is_done in self._steps)
        total = max(_STEPS, len(self._steps))
        description = str(subtasks[-1]["description"])
        self._write(_steps("staging", description, self._image, done, total, subtasks))

    def _is_writable(self) -> bool:
        return bool(select.select([], [self._descriptor], [], 0)[1])

    def _write(self, line: dict[str, Any]) -> None:
        if self._is_broken:
            return
        if not self._is_started:
            self._is_started = True
            self._write({"type": "Start", "version": VERSION})
        data = f"{printable_json(line)}\n".encode()
        try:
            while data and not self._is_broken:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            self._is_broken = True
            note(f"Failed to write to jsonl: {error.strerror}")


class _Fetch:
    """Bytes and layers of one image on their way."""

    def __init__(self, plan: FetchPlanned, requests: Mapping[str, int]) -> None:
        self._plan, self._requests = plan, requests
        self.layers: dict[str, LayerProgress | LayerFetched] = {}

    @property
    def image(self) -> str:
        return self._plan.image

    @property
    def is_complete(self) -> bool:
        return len(self._finished) == self._plan.layers_needed

    @property
    def _finished(self) -> list[LayerFetched]:
        return [layer for layer in self.layers.values() if isinstance(layer, LayerFetched)]

    def line(self, current: str = "") -> dict[str, Any]:
        plan = self._plan
        shown = [layer for digest, layer in self.layers.items() if isinstance(layer, LayerFetched) or digest == current]
        return {
            "type": "ProgressBytes",
            "task": "pulling",
            "description": f"Pulling Image: {plan.image}",
            "id": plan.image,
            "bytesCached": plan.bytes_present,
            "bytes": sum(map(_done, self.layers.values())),
            "bytesTotal": plan.bytes_needed,
            "stepsCached": plan.layers_present,
            "steps": len(self._finished),
            "stepsTotal": plan.layers_needed,
            "subtasks": [self._subtask(layer) for layer in shown],
            "bytesFetched": sum(map(_fetched, self.layers.values())),
            "bytesReused": sum(map(_reused, self.layers.values())),
            **_counted(sum(self._requests.values())),
        }

    def _subtask(self, layer: LayerProgress | LayerFetched) -> dict[str, Any]:
        short = layer.digest.partition(":")[2][:21]
        total = layer.size if isinstance(layer, LayerFetched) else layer.total or 0
        line = {
            "subtask": "layer",
            "description": f"layer: {short}",
            "id": short,
            "bytesCached": _reused(layer),
            "bytes": _done(layer),
            "bytesTotal": total,
            "bytesFetched": _fetched(layer),
            **_counted(self._requests.get(layer.digest, 0)),
        }
        return {**line, "seconds": round(layer.seconds, 3)} if isinstance(layer, LayerFetched) else line


def _done(layer: LayerProgress | LayerFetched) -> int:
    return layer.size if isinstance(layer, LayerFetched) else layer.done


def _reused(layer: LayerProgress | LayerFetched) -> int:
    return layer.reused if isinstance(layer, LayerFetched) else layer.resumed


def _fetched(layer: LayerProgress | LayerFetched) -> int:
    return layer.fetched if isinstance(layer, LayerFetched) else layer.done - layer.resumed


def _counted(requests: int) -> dict[str, int]:
    return {"requests": requests} if requests else {}


def _steps(task: str, description: str, id: str, done: int, total: int, subtasks: list[Any]) -> dict[str, Any]:
    return {
        "type": "ProgressSteps",
        "task": task,
        "description": description,
        "id": id,
        "stepsCached": 0,
        "steps": done,
        "stepsTotal": total,
        "subtasks": subtasks,
    }
