"""This machine as a place to work in: where the system lies, preparation, the lock, signals."""

from bootc.host.locking import Holder, Lock, lock
from bootc.host.preparation import (
    enter_private_namespace,
    is_container,
    is_medium_read_only,
    make_writable,
    prepare,
    require_no_container,
    require_root,
)
from bootc.host.signals import Signals, obey_again
from bootc.host.sysroot import KERNEL_ARGUMENT, Location, is_booted, locate, open_machine

__all__ = [
    "KERNEL_ARGUMENT",
    "Holder",
    "Location",
    "Lock",
    "Signals",
    "enter_private_namespace",
    "is_booted",
    "is_container",
    "is_medium_read_only",
    "locate",
    "lock",
    "make_writable",
    "obey_again",
    "open_machine",
    "prepare",
    "require_no_container",
    "require_root",
]
