"""What can go wrong with what is stored, deployed and booted."""

from __future__ import annotations

from collections.abc import Iterable

from bootc.errors.base import BootcError


class StoreError(BootcError):
    """The storage backend could not do what was asked; `problem` is its own word."""

    usual_hint = "try again; `dmesg` names errors of the disk"

    def __init__(self, store: str, problem: str, hint: str | None = None) -> None:
        self.store, self.problem = store, problem
        super().__init__(f"{store}: {problem}", hint)


class DeploymentError(BootcError):
    """There is no such deployment, or it is not in the state that the operation needs."""

    usual_hint = "`bootc status` lists what there is"


class EtcConflictError(BootcError):
    """Local changes of /etc and the new image's /etc exclude each other. Each conflict is a sentence about a path."""

    def __init__(self, conflicts: Iterable[str]) -> None:
        self.conflicts = tuple(conflicts)
        more = f" (and {len(self.conflicts) - 3} more)" if len(self.conflicts) > 3 else ""
        shown = "; ".join(self.conflicts[:3]) + more
        super().__init__(f"/etc cannot be merged: {shown}", "move the local version out of the way, then try again")


class BootloaderError(BootcError):
    """The bootloader's files could not be written, or do not say what was meant when read back."""

    usual_hint = "mend this, or choose another bootloader"

    def __init__(self, bootloader: str, problem: str, hint: str | None = None) -> None:
        self.bootloader, self.problem = bootloader, problem
        super().__init__(f"bootloader {bootloader}: {problem}", hint)


class UnsupportedPairError(BootloaderError):
    """This backend, bootloader, firmware and filesystem do not work together; see the table in the docs."""

    usual_hint = "docs/bootloaders.md lists what works together"
