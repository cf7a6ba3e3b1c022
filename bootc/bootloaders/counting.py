"""What the kernel command line holds beyond an entry's own arguments while the entry's boots are counted.

A panic, and an init that dies, then end in a reboot, which is the next try: `panic=` (seconds, kernel-parameters),
`systemd.crash_reboot` (systemd before 256) and `systemd.crash_action=` (since). So does emergency mode, which would
wait for somebody: in an initramfs every failure ends there, even if nothing of ours is in it. systemd since 256 takes
units from credentials on the command line (systemd.system-credentials(7)). `bootc.counting` is for our own units and
for the script in the initramfs.
"""

from __future__ import annotations

import base64

from attrs import evolve

from bootc.deployment import BootEntry, KernelArguments

FLAG = "bootc.counting"
_EMERGENCY = b"[Unit]\nDefaultDependencies=no\nSuccessAction=reboot-force\n[Service]\nType=oneshot\n"
_CREDENTIAL = f"systemd.extra-unit.emergency.service:{base64.b64encode(_EMERGENCY).decode()}"
ARGUMENTS = (
    FLAG,
    "panic=10",
    "systemd.crash_reboot=yes",
    "systemd.crash_action=reboot",
    f"systemd.set_credential_binary={_CREDENTIAL}",
)
"""they stand at the end of the command line; whichever version wrote it, all from the first one on is ours"""


def added(entry: BootEntry) -> BootEntry:
    """The entry as it stands in the menu while it is counted."""
    return evolve(entry, options=KernelArguments((*entry.options, *ARGUMENTS)))


def removed(entry: BootEntry) -> BootEntry:
    """The entry itself, from what stands in the menu."""
    items = entry.options.items
    return evolve(entry, options=KernelArguments(items[: items.index(FLAG)])) if FLAG in items else entry


def removed_from(line: str) -> str:
    """The same for a line of an entry file."""
    return line.partition(f" {FLAG}")[0]
