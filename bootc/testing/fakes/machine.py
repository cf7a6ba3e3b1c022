"""A machine to install on, boot and reboot: a sysroot on a real filesystem, /run, a kernel command line."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from attrs import define, field

from bootc.deployment import BootMenu, Deployment, KernelArguments
from bootc.durable import DirectoryVolume, Observer
from bootc.errors import FileSystemError
from bootc.events import Event
from bootc.hookspec import Context
from bootc.machine import Command, Machine
from bootc.testing.fakes import mounts

MIB = 1 << 20
EXT4 = ("mkfs.ext4", "-q", "-m", "0", "-O", "verity", "-E", "nodiscard,lazy_itable_init=1")
MKFS = {"ext4": EXT4, "xfs": ("mkfs.xfs", "-q", "-f"), "btrfs": ("mkfs.btrfs", "-q", "--mixed")}
"""how to make small ones, by the types that a backend names"""

_PLACE = Path("/mnt")
"""where all of the fake machine lies, in the mount namespace of the test; inside and outside of what is booted"""
_MEMORY = Path("/dev/shm")  # noqa: S108
_OFFLINE = "SYSTEMD_OFFLINE"
"""tells systemctl that no systemd runs here (systemd's ENVIRONMENT.md); libostree calls it when it stages"""
RootMounter = Callable[[Path, KernelArguments, Path], None]


def _not_cancelled() -> None:
    pass


def _ground(size: int) -> Path:
    """Where a file for a disk of this size can grow: in memory, where there is room."""
    if os.access(_MEMORY, os.W_OK):
        found = os.statvfs(_MEMORY)
        if found.f_bavail * found.f_frsize >= size:
            return _MEMORY
    return Path(tempfile.gettempdir())


@define
class FakeMachine:
    """One machine. It may mount what it likes: it must be made in a mount namespace of its own, which the suite gives.

    The sysroot is a filesystem on a loop device. Nothing is booted at first, as when a system is installed.
    """

    state: PurePosixPath = field(factory=lambda: PurePosixPath("bootc-testing"))
    """where the core would keep its records"""
    mkfs: Sequence[str] = EXT4
    """how to make the filesystem of the sysroot"""
    mount_root: RootMounter = mounts.mount_root
    """mounts the root that kernel arguments ask for: sysroot, arguments, where to"""
    observer: Observer | None = None
    """is told of every step that is taken through a volume"""
    check_cancelled: Callable[[], None] = _not_cancelled
    """what the core would raise CancelledError from"""
    events: list[Event] = field(factory=list)
    """what was reported"""
    menu: BootMenu = field(factory=BootMenu)
    """what the machine offers at power-on"""
    is_booted: bool = False
    _outside: int | None = None
    """the root directory of this process before it went into a booted one"""

    def __attrs_post_init__(self) -> None:
        Command(("mount", "-t", "tmpfs", "none", str(_PLACE)), "hold the fake machine").run()
        self._reset_run()
        self.use_disk(1024 * MIB)

    @property
    def root(self) -> Path:
        """The sysroot."""
        return _PLACE / "sysroot"

    @property
    def system(self) -> Path:
        """The root of what is booted: /usr, /etc and /var as the system that runs sees them."""
        return _PLACE / "system"

    @property
    def machine(self) -> Machine:
        """As a command opens it."""
        volume = DirectoryVolume(self.root, observer=self.observer)
        return Machine(volume, self.state, run=Path("/run") if self.is_booted else None)

    @property
    def context(self) -> Context:
        """What the core hands to a plugin when it opens it."""
        return Context(self.machine, self.events.append, lambda: self.check_cancelled())

    def use_disk(self, size: int, *options: str) -> None:
        """Have an empty sysroot of `size` bytes; `options` go to the program that makes the filesystem."""
        self.mount_disk(self.root, size, *options)

    def mount_disk(self, at: Path, size: int, *options: str) -> None:
        """Mount an empty filesystem of the sysroot's type."""
        image = _ground(size) / f"bootc-testing-{os.getpid()}-{os.urandom(6).hex()}"
        at.mkdir(exist_ok=True)
        try:
            with image.open("wb") as file:
                file.truncate(size)
            Command((*self.mkfs, *options, str(image)), "make a filesystem").run()
            Command(("mount", "-o", "loop", str(image), str(at)), "mount a filesystem").run()
        finally:
            image.unlink(missing_ok=True)

    def publish(self, deployments: Sequence[Deployment], *, narrow: bool = False) -> None:
        """Offer the menu that follows from the deployments; all files that it names must be there."""
        menu = BootMenu.of(deployments, None, narrow=narrow)
        for entry in (*menu.entries, *menu.prepared):
            for path in (entry.kernel, *entry.initramfs):
                if not (self.root / path).is_file():
                    raise FileSystemError(
                        str(path), f"the boot entry of {entry.deployment} names it, and it is missing"
                    )
        self.menu = menu

    @contextmanager
    def showing(self, root: Path, run: Path | None = None) -> Iterator[None]:
        """Another sysroot in place of this one, and another /run, for a while."""
        mounts.bind(root, self.root)
        if run:
            mounts.bind(run, Path("/run"))
        try:
            yield
        finally:
            if run:
                mounts.unmount(Path("/run"))
            self.power_off()
            mounts.unmount(self.root)

    def power_off(self) -> None:
        """Nothing is booted any more."""
        self._leave()

    def reboot(self) -> None:
        """Power off, in whatever state all is, and on again: the default of the menu is booted, /run is empty."""
        arguments = self.menu.entries[0].options
        self._leave()
        self._reset_run()
        command_line = _PLACE / "cmdline"
        command_line.write_text(f"{arguments}\n")
        mounts.bind(command_line, Path("/proc/cmdline"))
        self.mount_root(self.root, arguments, self.system)
        self.is_booted = True
        if mounts.looks_at_root(arguments):
            self._enter()

    # ------------------------------------------------------------ parts

    def _reset_run(self) -> None:
        Command(("mount", "-t", "tmpfs", "-o", "mode=755", "none", "/run"), "have an empty /run").run()

    def _enter(self) -> None:
        """From now on this process runs in the booted root; the fake machine is at the same place in there."""
        (Path("/run") / "ostree-booted").touch()
        inside = _PLACE / "inside"
        mounts.mount_surroundings(self.system, inside)
        mounts.bind(_PLACE, Path(f"{inside}{_PLACE}"), with_mounts=False)
        for path in (self.root, self.system):
            mounts.bind(path, Path(f"{inside}{path}"))
        self._outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        os.chroot(inside)
        os.chdir("/")
        os.environ[_OFFLINE] = "1"

    def _leave(self) -> None:
        if self._outside is not None:
            os.fchdir(self._outside)
            os.chroot(".")
            os.close(self._outside)
            self._outside = None
            del os.environ[_OFFLINE]
            mounts.unmount(_PLACE / "inside")
        if self.is_booted:
            mounts.unmount(self.system)
            mounts.unmount(Path("/proc/cmdline"))
        self.is_booted = False
