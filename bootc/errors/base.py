"""The failure itself, and those that any command can meet."""

from __future__ import annotations

from typing import ClassVar


class BootcError(Exception):
    """A failure to report as one line: what failed, on what; `hint` says what to do next."""

    exit_code: ClassVar[int] = 1
    usual_hint: ClassVar[str | None] = None
    """what to do next where whoever raises it knows nothing better"""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.usual_hint


class UsageError(BootcError):
    """The words of the command line do not fit together."""

    usual_hint = "see its --help"

    exit_code = 2


class CancelledError(BootcError):
    """SIGTERM, SIGINT or a closed terminal asked the operation to end; nothing half-done is left in force."""

    def __init__(self, reason: str = "interrupted") -> None:
        super().__init__(f"cancelled: {reason}", "run the command again; what was fetched is kept for it")
