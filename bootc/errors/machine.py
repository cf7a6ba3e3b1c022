"""What the machine can refuse: its locks, programs, filesystems and disks."""

from __future__ import annotations

from bootc.errors.base import BootcError


class HostError(BootcError):
    """The environment in which the command runs does not allow it (container, user, namespace, medium)."""


class LockedError(BootcError):
    """Another process is changing the sysroot."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(f"another process is changing this system: {holder}", "wait until it ends, then try again")


class ProgramError(BootcError):
    """A program ended with an exit code that was not expected."""

    usual_hint = "mend what the program complains about, then try again"

    def __init__(self, command: str, code: int, output: str) -> None:
        self.command, self.code, self.output = command, code, output
        detail = " / ".join(line.strip() for line in output.strip().splitlines()[-3:])
        super().__init__(f"`{command}` failed with exit code {code}" + (f": {detail}" if detail else ""))


class MissingProgramError(BootcError):
    """A program that is needed is not installed."""

    def __init__(self, program: str, purpose: str) -> None:
        self.program, self.purpose = program, purpose
        super().__init__(f"program {program!r} not found; it is needed to {purpose}", f"install {program}")


class NoSpaceError(BootcError):
    """A filesystem has no room for what must be written. Sizes are bytes."""

    def __init__(self, what: str, where: str, available: int | None = None, required: int | None = None) -> None:
        self.what, self.where, self.available, self.required = what, where, available, required
        sizes = "" if required is None else f" (available: {available} bytes, required: {required} bytes)"
        super().__init__(f"insufficient free space for {what} in {where}{sizes}", "free some space, then try again")


class FileSystemError(BootcError):
    """A read or write on a filesystem failed; `problem` is the system's own word."""

    usual_hint = "check this path; `dmesg` names errors of the disk"

    def __init__(self, path: str, problem: str, hint: str | None = None) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}", hint)


class TargetError(BootcError):
    """The disk, file or directory to install to is not fit for it; nothing was written."""

    usual_hint = "check the name, or choose another target"

    def __init__(self, target: str, problem: str, hint: str | None = None) -> None:
        self.target, self.problem = target, problem
        super().__init__(f"{target}: {problem}", hint)
