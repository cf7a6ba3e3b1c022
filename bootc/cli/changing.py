"""What commands that change a system have in common: preparation, signals, progress, a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bootc import host
from bootc.cli.account import Account
from bootc.cli.options import GlobalOptions
from bootc.cli.progress import listening
from bootc.errors import UsageError
from bootc.session import Session
from bootc.transaction import Transaction


@contextmanager
def prepared(
    options: GlobalOptions,
    *,
    is_quiet: bool = False,
    progress_fd: int | None = None,
    account: Account | None = None,
) -> Iterator[Session]:
    """A session that may change the installed system. Preparation comes first: no thread may run before it."""
    host.prepare(options.sysroot)
    verbose = options.is_verbose
    with (
        listening(is_quiet=is_quiet, is_verbose=verbose, progress_fd=progress_fd, account=account) as report,
        host.Signals().active() as signals,
    ):
        yield Session(options.selection, report, signals)


@contextmanager
def opened(
    options: GlobalOptions,
    *,
    is_quiet: bool = False,
    progress_fd: int | None = None,
    account: Account | None = None,
) -> Iterator[tuple[Session, Transaction]]:
    """A transaction on the installed system, and the session it belongs to. `account` adds up what it costs."""
    with (
        prepared(options, is_quiet=is_quiet, progress_fd=progress_fd, account=account) as session,
        session.writer() as transaction,
    ):
        yield session, transaction


def require_running_system(options: GlobalOptions, *, apply: bool, download_only: bool = False) -> None:
    """`--apply` reboots the machine, so it must be the machine's own system that changes; and one that does not run
    has no reboot that `--download-only` could keep an update from. Raises UsageError."""
    if options.sysroot is None:
        return
    if apply:
        raise UsageError("--apply reboots the running system; it cannot be used with --sysroot")
    if download_only:
        raise UsageError("--download-only is for the running system; with --sysroot an update is the default at once")
