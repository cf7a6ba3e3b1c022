"""`--progress-fd`: the lines that another program reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bootc.cli.progress import listening
from bootc.cli.progress_json import JsonLines
from bootc.errors import BootcError
from bootc.events import (
    Event,
    FetchPlanned,
    LayerFetched,
    LayerImported,
    LayerProgress,
    Notice,
    Phase,
    PhaseFinished,
    PhaseStarted,
    RequestMade,
)

IMAGE = "sha256:" + "e" * 64
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
SHORT = "1" * 21


class Pipe:
    """A pipe with a reader that reads when it is told to."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)

    def lines(self) -> list[dict[str, Any]]:
        try:
            data = os.read(self.read_end, 1 << 20)
        except BlockingIOError:
            return []
        return [json.loads(line) for line in data.splitlines()]

    def stop_reading(self) -> None:
        os.close(self.read_end)
        self.read_end = -1

    def close(self) -> None:
        for descriptor in (self.read_end, self.write_end):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def feed(writer: JsonLines, *events: Event) -> None:
    for event in events:
        writer(event)


PLAN = FetchPlanned(IMAGE, layers_present=3, bytes_present=700, layers_needed=2, bytes_needed=300)


def test_a_whole_upgrade(pipe: Pipe) -> None:
    feed(
        JsonLines(pipe.write_end, Clock()),
        PhaseStarted(Phase.RESOLVE, "reg/os"), PhaseFinished(Phase.RESOLVE, 0.1), Notice("by the way"),
        PLAN,
        PhaseStarted(Phase.IMPORT, "reg/os"),
        RequestMade(), RequestMade(ONE),
        LayerFetched(ONE, 100, 100, seconds=0.25),
        LayerImported(ONE),
        RequestMade(TWO), RequestMade(TWO),
        LayerFetched(TWO, 200, 149, reused=50, seconds=1.5),
        LayerImported(TWO),
        PhaseFinished(Phase.IMPORT, 1),
        PhaseStarted(Phase.STAGE), PhaseFinished(Phase.STAGE, 1),
        PhaseStarted(Phase.CLEAN), PhaseFinished(Phase.CLEAN, 1),
    )  # fmt: skip
    first = {
        "subtask": "layer", "description": f"layer: {SHORT}", "id": SHORT,
        "bytesCached": 0, "bytes": 100, "bytesTotal": 100,
        "bytesFetched": 100, "requests": 1, "seconds": 0.25,
    }  # fmt: skip
    second = {
        "subtask": "layer", "description": f"layer: {'2' * 21}", "id": "2" * 21,
        "bytesCached": 50, "bytes": 200, "bytesTotal": 200,
        "bytesFetched": 149, "requests": 2, "seconds": 1.5,
    }  # fmt: skip

    def pulling(bytes: int, steps: int, costs: Mapping[str, int], *subtasks: object) -> dict[str, object]:
        return {
            "type": "ProgressBytes", "task": "pulling", "description": f"Pulling Image: {IMAGE}", "id": IMAGE,
            "bytesCached": 700, "bytes": bytes, "bytesTotal": 300,
            "stepsCached": 3, "steps": steps, "stepsTotal": 2, "subtasks": list(subtasks), **costs,
        }  # fmt: skip

    def importing(step: int) -> dict[str, object]:
        subtask = {"subtask": "importing", "description": "Importing Image", "id": "importing", "completed": step == 1}
        return {
            "type": "ProgressSteps", "task": "importing", "description": "Importing Image", "id": IMAGE,
            "stepsCached": 0, "steps": step, "stepsTotal": 1, "subtasks": [subtask],
        }  # fmt: skip

    def staging(step: int, description: str, *done: bool) -> dict[str, object]:
        names = {"deploying": "Deploying Image", "cleanup": "Removing Old Images"}
        subtasks = [
            {"subtask": name, "description": text, "id": name, "completed": is_done}
            for (name, text), is_done in zip(names.items(), done, strict=False)
        ]
        return {
            "type": "ProgressSteps", "task": "staging", "description": description, "id": IMAGE,
            "stepsCached": 0, "steps": step, "stepsTotal": 2, "subtasks": subtasks,
        }  # fmt: skip

    assert pipe.lines() == [
        {"type": "Start", "version": "0.1.0"},
        pulling(100, 1, {"bytesFetched": 100, "bytesReused": 0, "requests": 2}, first),
        pulling(300, 2, {"bytesFetched": 249, "bytesReused": 50, "requests": 4}, first, second),
        importing(0),
        importing(1),
        staging(0, "Deploying Image", False),
        staging(1, "Deploying Image", True),
        staging(1, "Removing Old Images", True, False),
        staging(2, "Removing Old Images", True, True),
    ]


def test_lines_are_canonical_json(pipe: Pipe) -> None:
    feed(JsonLines(pipe.write_end), PLAN, LayerProgress(ONE, 1, 100))
    data = os.read(pipe.read_end, 1 << 16)
    assert data.endswith(b"\n")
    for line in data.splitlines():
        assert line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":")).encode()


def test_nothing_to_fetch_says_nothing(pipe: Pipe) -> None:
    plan = FetchPlanned(IMAGE, 5, 1000, 0, 0)
    feed(JsonLines(pipe.write_end), PhaseStarted(Phase.RESOLVE), plan, PhaseFinished(Phase.IMPORT, 0.1))
    assert pipe.lines() == []


def test_bytes_come_at_most_five_times_a_second_and_the_end_always(pipe: Pipe) -> None:
    clock = Clock()
    writer = JsonLines(pipe.write_end, clock)
    writer(PLAN)
    for step in range(100):
        clock.now = 100 + step / 64
        writer(LayerProgress(ONE, step, 100))
    writer(LayerFetched(ONE, 100, 100))
    lines = pipe.lines()
    assert [line["bytes"] for line in lines if line["type"] == "ProgressBytes"] == [0, 13, 26, 39, 52, 65, 78, 91, 100]


def test_a_reader_that_does_not_read_misses_bytes_and_holds_nothing_up(pipe: Pipe) -> None:
    clock = Clock()
    writer = JsonLines(pipe.write_end, clock)
    writer(PLAN)
    for step in range(2000):
        clock.now += 1
        writer(LayerProgress(ONE, step % 100, 100))
    shown = [line for line in pipe.lines() if line["type"] == "ProgressBytes"]
    assert 100 < len(shown) < 1000


def test_a_reader_that_is_gone_is_told_of_once(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    writer = JsonLines(pipe.write_end)
    pipe.stop_reading()
    feed(writer, PLAN, LayerFetched(ONE, 100, 100), LayerFetched(TWO, 1, 1))
    assert capsys.readouterr().err == "Failed to write to jsonl: Broken pipe\n"


def test_only_a_pipe_will_do(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(BootcError, match=f"^Cannot use fd {descriptor} for progress JSON: not a pipe$"):
            JsonLines.open(descriptor)
    finally:
        os.close(descriptor)
    with pytest.raises(BootcError, match=f"^Cannot use fd {descriptor} for progress JSON$"):
        JsonLines.open(descriptor)


def test_json_and_people_hear_the_same_events(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(is_verbose=True, progress_fd=pipe.write_end) as report:
        report(PhaseStarted(Phase.STAGE, "reg/os\x1b[2J"))
        report(Notice("half full", is_warning=True))
        report(PhaseFinished(Phase.STAGE, 1.25))
    assert [line["type"] for line in pipe.lines()] == ["Start", "ProgressSteps", "ProgressSteps"]
    assert capsys.readouterr().err.splitlines() == [
        "Staging deployment: reg/os\\x1b[2J",
        "warning: half full",
        "Staging deployment: 1.2 s",
    ]


@pytest.mark.parametrize(("is_quiet", "expected"), [(False, ["fine", "warning: odd"]), (True, ["warning: odd"])])
def test_without_a_terminal_only_notices_are_told(
    is_quiet: bool, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(is_quiet=is_quiet) as report:
        for event in (PhaseStarted(Phase.STAGE), PLAN, LayerProgress(ONE, 1, 2), Notice("fine"), Notice("odd", True)):
            report(event)
    assert capsys.readouterr() == ("", "".join(f"{line}\n" for line in expected))
