"""What the kernel command line holds beyond an entry's own arguments while the entry's boots are counted.

A panic, and an init that dies, then end in a reboot, which is the next try: `panic=` (seconds, kernel-parameters),
`systemd.crash_reboot` (systemd before 256) and `systemd.crash_action=` (since). `bootc.counting` is for our own units
and for the script in the initramfs.
"""

from __future__ import annotations

from attrs import evolve

from bootc.deployment import BootEntry, KernelArguments

FLAG = "bootc.counting"
ARGUMENTS = ("panic=10", "systemd.crash_reboot=yes", "systemd.crash_action=reboot", FLAG)
"""they stand at the end of the command line, in this order"""


def added(entry: BootEntry) -> BootEntry:
    """The entry as it stands in the menu while it is counted."""
    return evolve(entry, options=KernelArguments((*entry.options, *ARGUMENTS)))


def removed(entry: BootEntry) -> BootEntry:
    """The entry itself, from what stands in the menu."""
    items = entry.options.items
    if items[-len(ARGUMENTS) :] != ARGUMENTS:
        return entry
    return evolve(entry, options=KernelArguments(items[: -len(ARGUMENTS)]))
