"""`bootc switch`."""

from __future__ import annotations

import click

from bootc.cli import messages, reboot, summary
from bootc.cli.account import Account
from bootc.cli.changing import opened, require_running_system
from bootc.cli.following import named
from bootc.cli.options import GlobalOptions
from bootc.cli.parameters import TRANSPORTS, apply_option, downgrade_option, json_option, progress_options, retry_option


@click.command("switch")
@click.argument("target")
@click.option(
    "--transport",
    type=click.Choice(TRANSPORTS),
    metavar="TRANSPORT",
    default="registry",
    show_default=True,
    help=f"Where the image comes from: {', '.join(TRANSPORTS)}.",
)
@apply_option
@click.option("--enforce-container-sigpolicy", is_flag=True, help="Refuse a policy.json that accepts unsigned images.")
@click.option("--retain", is_flag=True, expose_value=False, help="Accepted; refs of an ostree origin are always kept.")
@click.option("--no-signature-verification", is_flag=True, hidden=True, expose_value=False)
@downgrade_option
@retry_option
@json_option
@progress_options
@click.pass_obj
def command(
    options: GlobalOptions,
    target: str,
    transport: str,
    apply: bool,
    enforce_container_sigpolicy: bool,
    allow_downgrade: bool,
    retry_failed: bool,
    is_json: bool,
    quiet: bool,
    progress_fd: int | None,
) -> None:
    """Follow another image: fetch it and stage it for the next boot.

    Upgrades fetch from there from now on. TARGET is a name in the syntax of the transport. /etc and /var are carried
    over as in an upgrade, and `bootc rollback` returns to the image that runs now.
    """
    require_running_system(options, apply=apply)
    signature = "containerPolicy" if enforce_container_sigpolicy else None
    reference = named(target, transport, "--transport", signature)
    account = Account()
    with opened(options, is_quiet=quiet, progress_fd=progress_fd, account=account) as (session, transaction):
        with session.fetcher(reference) as fetcher:
            update = transaction.switch(fetcher, reference, retry_failed=retry_failed, allow_downgrade=allow_downgrade)
        reboot.announce(transaction.machine, update)
    summary.show(summary.update_document(update, account), messages.update_lines(update), is_json=is_json)
    if apply and update.deployment and update.deployment.is_staged:
        reboot.reboot()
