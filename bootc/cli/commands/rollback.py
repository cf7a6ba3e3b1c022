"""`bootc rollback`."""

from __future__ import annotations

import click

from bootc.cli import messages, reboot
from bootc.cli.changing import opened, require_running_system
from bootc.cli.options import GlobalOptions
from bootc.cli.parameters import apply_option
from bootc.cli.terminal import out_lines
from bootc.deployment import Slots


@click.command("rollback")
@apply_option
@click.pass_obj
def command(options: GlobalOptions, apply: bool) -> None:
    """Boot the previous deployment next time; a second call undoes that.

    The deployments are not changed, only their order: changes to /etc since the last upgrade stay with the deployment
    that runs now. A staged deployment is dropped. An update timer would fetch the newer image again.
    """
    require_running_system(options, apply=apply)
    with opened(options) as (_, transaction):
        is_undo = transaction.roll_back()
        reboot.announce_rollback(transaction.machine, Slots.of(transaction.deployments), is_undo)
    out_lines(messages.rollback_lines(is_undo))
    if apply:
        reboot.reboot()
