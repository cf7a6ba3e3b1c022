"""Progress bars on a terminal (standard error)."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from bootc.cli.account import Account
from bootc.cli.progress import LABELS, notice_text
from bootc.events import (
    Event,
    FetchPlanned,
    LayerFetched,
    LayerImported,
    LayerProgress,
    Milestone,
    Notice,
    Phase,
    PhaseFinished,
    PhaseStarted,
    RequestMade,
)
from bootc.status.text import printable

NARROW = 64
"""columns; on fewer there is no room for bars, speeds and times"""


class _Rows(Progress):
    """The phase in a line of its own, cut off where the terminal ends; below it a table of all that has a size."""

    def __init__(self, console: Console) -> None:
        columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
        wide = [BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
        columns += [DownloadColumn()] if console.width < NARROW else wide
        self._spinner = SpinnerColumn()
        super().__init__(*columns, console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The lines."""
        for task in self.tasks:
            if task.fields.get("is_phase"):
                line = Table.grid(padding=(0, 1))
                line.add_column(width=1)
                line.add_column(no_wrap=True, overflow="ellipsis")
                line.add_row(self._spinner(task), Text(task.description))
                yield line
        yield self.make_tasks_table([task for task in self.tasks if not task.fields.get("is_phase")])


class TerminalDisplay:
    """One line for the phase, one for the whole fetch, one for each layer on its way; all vanish at the end.

    What the fetch cost stays; `account` hears each event before.
    """

    def __init__(self, account: Account, console: Console | None = None) -> None:
        self._account = account
        self._progress = _Rows(console or Console(stderr=True, highlight=False))
        self._phase: TaskID | None = None
        self._whole: TaskID | None = None
        self._plan: FetchPlanned | None = None
        self._layers: dict[str, TaskID] = {}
        self._bytes: dict[str, int] = {}
        self._imported = 0

    def __call__(self, event: Event) -> None:
        match event:
            case PhaseStarted():
                self._show_phase(event)
            case PhaseFinished():
                self._end_phase()
                cost = self._account.text() if event.phase is Phase.IMPORT else None
                if cost:
                    self._progress.console.print(Text(cost))
            case FetchPlanned():
                self._plan, self._imported = event, 0
                self._show_whole()
            case LayerProgress():
                self._show_layer(event)
            case LayerFetched():
                self._end_layer(event)
            case LayerImported():
                self._imported += 1
                self._show_whole()
            case Notice():
                self._progress.console.print(Text(printable(notice_text(event))))
            case Milestone() | RequestMade():
                return

    def close(self) -> None:
        """Remove the bars."""
        self._progress.stop()

    def renderable(self) -> RenderableType:
        """What is drawn at this moment."""
        return self._progress.get_renderable()

    def _show_phase(self, event: PhaseStarted) -> None:
        self._progress.start()
        detail = f": {printable(event.detail)}" if event.detail else ""
        self._end_phase()
        self._phase = self._progress.add_task(LABELS[event.phase] + detail, total=None, is_phase=True)

    def _end_phase(self) -> None:
        for task in (self._phase, self._whole, *self._layers.values()):
            if task is not None:
                self._progress.remove_task(task)
        self._phase = self._whole = None
        self._layers.clear()

    def _show_layer(self, event: LayerProgress) -> None:
        self._bytes[event.digest] = event.done
        if event.digest not in self._layers:
            label = f"layer {event.digest.partition(':')[2][:12]}"
            self._layers[event.digest] = self._progress.add_task(label, total=event.total)
        self._progress.update(self._layers[event.digest], completed=event.done, total=event.total)
        self._show_whole()

    def _end_layer(self, event: LayerFetched) -> None:
        self._bytes[event.digest] = event.size
        if event.digest in self._layers:
            self._progress.remove_task(self._layers.pop(event.digest))
        self._show_whole()

    def _show_whole(self) -> None:
        if self._plan is None:
            return
        label = f"layers {self._imported}/{self._plan.layers_needed}"
        if self._whole is None:
            self._whole = self._progress.add_task(label, total=self._plan.bytes_needed or None)
        self._progress.update(self._whole, description=label, completed=sum(self._bytes.values()))
