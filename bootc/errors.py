"""Every failure this tool reports: one class each, with its message, a hint and the exit code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class BootcError(Exception):
    """A failure to report as one line: what failed, on what; `hint` says what to do next."""

    exit_code: ClassVar[int] = 1
    usual_hint: ClassVar[str | None] = None
    """what to do next where whoever raises it knows nothing better"""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.usual_hint


class UsageError(BootcError):
    """The words of the command line do not fit together."""

    usual_hint = "see its --help"

    exit_code = 2


class CancelledError(BootcError):
    """SIGTERM, SIGINT or a closed terminal asked the operation to end; nothing half-done is left in force."""

    def __init__(self, reason: str = "interrupted") -> None:
        super().__init__(f"cancelled: {reason}", "run the command again; what was fetched is kept for it")


# ---------------------------------------------------------------- configuration, plugins, state


class ConfigError(BootcError):
    """A configuration file that cannot be read or does not say something valid."""

    usual_hint = "correct this, then try again"

    def __init__(self, source: str, key: str | None, problem: str, hint: str | None = None) -> None:
        self.source, self.key, self.problem = source, key, problem
        super().__init__(f"{source}: {key}: {problem}" if key else f"{source}: {problem}", hint)


class PluginError(BootcError):
    """A plugin broke its contract: it could not be loaded, or one of its hooks raised."""

    def __init__(self, plugin: str, problem: str) -> None:
        self.plugin, self.problem = plugin, problem
        super().__init__(f"plugin {plugin}: {problem}", "`bootc plugins` lists what was loaded and what failed")


class UnknownPluginError(BootcError):
    """No loaded plugin of this kind has this name."""

    def __init__(self, kind: str, name: str, known: Iterable[str], failure: str | None = None) -> None:
        self.kind, self.name, self.known, self.failure = kind, name, tuple(known), failure
        why = f": {failure}" if failure else ""
        super().__init__(f"unknown {kind} {name!r}{why}", f"known: {', '.join(self.known) or 'none'}")


class UnavailablePluginError(BootcError):
    """The selected plugin cannot work on this machine."""

    def __init__(self, kind: str, name: str, reason: str) -> None:
        self.kind, self.name, self.reason = kind, name, reason
        super().__init__(f"{kind} {name!r} is not available: {reason}", "install what it needs or select another one")


class MissingCapabilityError(BootcError):
    """What was asked for is a capability that the selected plugin does not declare."""

    def __init__(self, kind: str, name: str, capability: str) -> None:
        self.kind, self.name, self.capability = kind, name, capability
        super().__init__(f"{kind} {name!r} does not support {capability}", "`bootc plugins` lists capabilities")


class StateError(BootcError):
    """A record on the sysroot is missing, damaged or from a newer version."""

    usual_hint = "restore this file, or install again"

    def __init__(self, path: str, problem: str, hint: str | None = None) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}", hint)


class BackendMismatchError(BootcError):
    """Another backend was asked for than the one that owns the sysroot."""

    def __init__(self, requested: str, installed: str) -> None:
        self.requested, self.installed = requested, installed
        super().__init__(
            f"this system was installed with backend {installed!r}; cannot use {requested!r}",
            f"leave out --backend, or use --backend {installed}",
        )


# ---------------------------------------------------------------- the machine


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


# ---------------------------------------------------------------- images


class ReferenceError(BootcError):
    """Text that is no image reference or digest, or names an unknown transport."""

    usual_hint = "check how it is written"

    def __init__(self, text: str, problem: str, hint: str | None = None) -> None:
        self.text, self.problem = text, problem
        super().__init__(f"invalid image reference {text!r}: {problem}", hint)


class FetchError(BootcError):
    """An image could not be fetched. `reference` is the logical one, never a mirror's or a URL with secrets."""

    def __init__(self, reference: str, problem: str, hint: str | None = None) -> None:
        self.reference, self.problem = reference, problem
        super().__init__(f"{reference}: {problem}", hint)


class NotFoundError(FetchError):
    """The registry or directory answered, and has no such image or blob."""

    usual_hint = "check the name and the tag"


class AuthenticationError(FetchError):
    """The registry wants credentials, or refused the ones it got."""

    usual_hint = "check the credentials for this registry"


class PolicyError(FetchError):
    """The signature policy of this machine does not accept the image, or cannot be evaluated."""

    usual_hint = "see containers-policy.json(5)"


class DowngradeError(PolicyError):
    """The image is older than one that was accepted before, and the guard against downgrades is on."""

    def __init__(self, reference: str, problem: str) -> None:
        super().__init__(reference, problem, "--allow-downgrade accepts it; `bootc rollback` is always possible")


class NetworkError(FetchError):
    """No connection, a time-out, or a server that failed after all retries."""

    usual_hint = "check the network and the address, then try again"


class ProtocolError(FetchError):
    """The other side answered something that its protocol does not allow."""

    usual_hint = "check that this is the address of a registry, and that the image was pushed whole"


class IntegrityError(FetchError):
    """Content does not have the digest or size by which it was named."""

    usual_hint = "try again; if it stays so, push the image again"


class RebuiltLayerError(IntegrityError):
    """A layer that was put together from parts does not have its diffID; another import fetches it whole."""

    def __init__(self, reference: str) -> None:
        super().__init__(reference, "put together from parts, a layer does not have the content that the image names")


class UnsupportedError(FetchError):
    """A form of image, media type or transport that this fetcher does not handle."""

    usual_hint = "push the image in another form: OCI, with layers in gzip or zstd"


class ImageError(BootcError):
    """The image was fetched but cannot be installed."""

    usual_hint = "mend the image and build it again"

    def __init__(self, image: str, problem: str, hint: str | None = None) -> None:
        self.image, self.problem = image, problem
        super().__init__(f"{image}: {problem}", hint)


class LayerError(BootcError):
    """A tar entry that is refused. `entry` is its name, escaped so that it is safe on a terminal."""

    usual_hint = "build the image again; nothing of this layer is used"

    def __init__(self, entry: str, problem: str, hint: str | None = None) -> None:
        self.entry, self.problem = entry, problem
        super().__init__(f"layer entry {entry}: {problem}", hint)


# ---------------------------------------------------------------- store, deployments, boot


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
