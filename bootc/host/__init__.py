"""This machine as a place to work in: where the system lies, preparation, the lock, signals."""

from bootc.host.cancellation import Cancellation
from bootc.host.lock import Holder, Lock
from bootc.host.preparation import (
    enter_private_namespace,
    is_container,
    is_medium_read_only,
    make_writable,
    prepare_to_write,
    require_no_container,
    require_root,
)
from bootc.host.sysroot import KERNEL_ARGUMENT, Location, is_booted, locate, open_machine

__all__ = [
    "KERNEL_ARGUMENT",
    "Cancellation",
    "Holder",
    "Location",
    "Lock",
    "enter_private_namespace",
    "is_booted",
    "is_container",
    "is_medium_read_only",
    "locate",
    "make_writable",
    "open_machine",
    "prepare_to_write",
    "require_no_container",
    "require_root",
]
