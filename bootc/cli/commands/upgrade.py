"""`bootc upgrade` (also `bootc update`)."""

from __future__ import annotations

import click

from bootc.cli import messages, reboot, summary
from bootc.cli.account import Account
from bootc.cli.changing import opened, require_running_system
from bootc.cli.following import followed
from bootc.cli.options import GlobalOptions
from bootc.cli.parameters import apply_option, downgrade_option, json_option, progress_options, retry_option
from bootc.errors import UsageError
from bootc.session import Session
from bootc.transaction import Transaction
from bootc.updates import Change, Check, Update

_CONFLICTS = {
    "--check": ("--apply", "--download-only", "--from-downloaded"),
    "--download-only": ("--apply", "--from-downloaded"),
    "--from-downloaded": ("--tag", "--retry-failed", "--allow-downgrade"),
}


@click.command("upgrade")
@click.option("--check", is_flag=True, help="Only tell whether there is a newer image; fetch no layers.")
@apply_option
@click.option("--download-only", is_flag=True, help="Stage, but do not apply at a reboot; see --from-downloaded.")
@click.option("--from-downloaded", is_flag=True, help="Apply what --download-only staged; needs no network.")
@click.option("--tag", metavar="TAG", help="Follow this tag of the same repository from now on.")
@downgrade_option
@retry_option
@json_option
@progress_options
@click.pass_obj
def command(
    options: GlobalOptions,
    check: bool,
    apply: bool,
    download_only: bool,
    from_downloaded: bool,
    tag: str | None,
    allow_downgrade: bool,
    retry_failed: bool,
    is_json: bool,
    quiet: bool,
    progress_fd: int | None,
) -> None:
    """Fetch a newer image and stage it for the next boot.

    The system that runs is not changed; the new one is booted at the next reboot, with the changes to /etc that were
    made until then, and the one that runs now is kept for `bootc rollback`.
    """
    _require_compatible(
        check=check,
        apply=apply,
        download_only=download_only,
        from_downloaded=from_downloaded,
        tag=tag,
        retry_failed=retry_failed,
        allow_downgrade=allow_downgrade,
    )
    require_running_system(options, apply=apply, download_only=download_only)
    account = Account()
    with opened(options, is_quiet=quiet, progress_fd=progress_fd, account=account) as (session, transaction):
        if check:
            checked = _check(session, transaction, tag, allow_downgrade=allow_downgrade)
            shown = summary.check_document(checked, account), messages.check_lines(checked)
            is_reboot_due = False
        else:
            said = messages.downloaded_lines if from_downloaded else messages.update_lines
            update = (
                transaction.apply_downloaded()
                if from_downloaded
                else _upgrade(
                    session,
                    transaction,
                    tag,
                    is_locked=download_only,
                    retry_failed=retry_failed,
                    allow_downgrade=allow_downgrade,
                )
            )
            reboot.announce(transaction.machine, update)
            shown = summary.update_document(update, account), said(update)
            is_reboot_due = update.change not in (Change.NONE, Change.FAILED_BEFORE)
    summary.show(*shown, is_json=is_json)
    if apply and is_reboot_due:
        reboot.reboot()


def _require_compatible(**given: object) -> None:
    options = {f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, False)}
    for option, others in _CONFLICTS.items():
        for other in others:
            if {option, other} <= options:
                raise UsageError(f"{option} cannot be used with {other}", "see `bootc upgrade --help`")


def _check(session: Session, transaction: Transaction, tag: str | None, *, allow_downgrade: bool) -> Check:
    reference = followed(transaction.deployments, tag)
    with session.fetcher(reference) as fetcher:
        return transaction.check(fetcher, reference, allow_downgrade=allow_downgrade)


def _upgrade(session: Session, transaction: Transaction, tag: str | None, **how: bool) -> Update:
    """`how` are the options of `Transaction.upgrade`."""
    reference = followed(transaction.deployments, tag)
    with session.fetcher(reference) as fetcher:
        return transaction.upgrade(fetcher, reference, **how)
