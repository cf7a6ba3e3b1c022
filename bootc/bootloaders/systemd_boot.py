"""systemd-boot: type 1 entries and kernels on the EFI system partition, in an order of ours, with boot counting."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import PurePosixPath

from attrs import evolve

from bootc import platform
from bootc.bootloader import BootCounting, Bootloader, Count
from bootc.bootloaders import bls, counting, entries, kernels, support
from bootc.bootloaders.entries import EntryFile, FileName, Wanted
from bootc.bootloaders.kernels import Kernel
from bootc.bootloaders.paths import on_machine
from bootc.deployment import BootEntry, BootMenu, DeploymentId
from bootc.durable import Volume
from bootc.errors import BootloaderError, NoSpaceError
from bootc.machine import Machine
from bootc.storage import Tree

NAME = "systemd-boot"

_ENTRIES = PurePosixPath("loader/entries")
_LOADER_CONF = PurePosixPath("loader/loader.conf")
_SOURCES = PurePosixPath("usr/lib/systemd/boot/efi")


class SystemdBoot(Bootloader, BootCounting):
    """Entries are ordered by sort-key and version alone: a `default` in loader.conf would boot known-bad ones."""

    def __init__(self, machine: Machine, timeout: int = 3) -> None:
        self._machine, self._timeout = machine, timeout
        self._measurer = kernels.Measurer()

    # ------------------------------------------------------------ the bootloader itself

    def check(self, tree: Tree) -> None:
        support.require(NAME, self._machine.firmware, self._machine.filesystem)
        self._program(tree)
        self._esp.free()

    def install(self, tree: Tree) -> None:
        program, suffix = self._program(tree), platform.current().efi_suffix
        for directory in map(PurePosixPath, ("EFI/BOOT", "EFI/systemd", "loader", "loader/entries")):
            self._esp.make_directories(directory)
            self._esp.sweep(directory)
        self._put(PurePosixPath(f"EFI/systemd/systemd-boot{suffix}.efi"), program)
        self._put(_LOADER_CONF, self._loader_conf())
        self._put(PurePosixPath("loader/entries.srel"), b"type1\n")
        self._put(PurePosixPath(f"EFI/BOOT/BOOT{suffix.upper()}.EFI"), program)

    # ------------------------------------------------------------ the menu

    def read(self) -> BootMenu:
        found: dict[DeploymentId, BootEntry] = {}
        for file in sorted(self._present(), key=lambda file: file.name.boot_order):
            entry = bls.entry_of(file.text)
            if entry and entry.deployment not in found:
                plain = counting.removed(entry)
                found[entry.deployment] = evolve(
                    plain, tries_left=file.name.tries_left, tries_done=file.name.tries_done
                )
        return BootMenu(tuple(found.values()))

    def write(self, menu: BootMenu, tries: int | None = None) -> None:
        offered = [self._kernel(entry) for entry in menu.entries]
        prepared = [self._kernel(entry) for entry in menu.prepared]
        for entry, kernel in zip(menu.prepared, prepared, strict=True):
            self._wanted(entry, kernel)
        wanted = [self._wanted(entry, kernel) for entry, kernel in zip(menu.entries, offered, strict=True)]
        plan = entries.make_plan(wanted, self._present(), tries)
        for folder in (_ENTRIES, kernels.FOLDER):
            self._esp.sweep(folder)
        self._copy([*offered, *prepared], len(plan.writes))
        for file in plan.writes:
            self._esp.replace(_ENTRIES / str(file.name), file.text)
        for file in plan.removals:
            self._esp.remove(_ENTRIES / str(file.name))
        self._verify(offered, wanted, plan.final)
        self._tidy([*offered, *prepared])

    def mark_good(self, deployment: DeploymentId) -> None:
        """Write the entry as it is without a counter, then remove the counted one: it is there all the time."""
        found = [file for file in self._present() if file.name.key == entries.key_of(deployment)]
        if not found:
            raise BootloaderError(NAME, f"no boot entry for {deployment}", "publish the boot menu first")
        for file in found:
            if file.name.tries_left is not None:
                good = evolve(file.name, tries_left=None, tries_done=0)
                self._esp.replace(_ENTRIES / str(good), _without_counting(file.text))
                self._esp.remove(_ENTRIES / str(file.name))

    def count(self, deployment: DeploymentId) -> Count | None:
        found = [file.name for file in self._present() if file.name.key == entries.key_of(deployment)]
        if not found or any(name.tries_left is None for name in found):
            return None
        name = max(found, key=lambda name: name.rank)
        return Count(name.tries_left or 0, name.tries_done)

    # ------------------------------------------------------------ parts

    @property
    def _esp(self) -> Volume:
        if self._machine.esp is None:
            raise BootloaderError(NAME, "this machine has no EFI system partition", "create one, at least 512 MiB")
        return self._machine.esp

    def _program(self, tree: Tree) -> bytes:
        """The bootloader from the image; a signed one is preferred, as bootctl does."""
        name = f"systemd-boot{platform.current().efi_suffix}.efi"
        for candidate in (f"{name}.signed", name):
            data = tree.read_optional(_SOURCES / candidate)
            if data is not None:
                return data
        raise BootloaderError(
            NAME, f"the image has no {_SOURCES / name}", "install package systemd-boot-efi (or systemd-boot) in it"
        )

    def _loader_conf(self) -> bytes:
        """What there is without a `default`, else a file of ours."""
        present = self._esp.read_optional(_LOADER_CONF)
        if present is None:
            return f"timeout {self._timeout}\n".encode()
        return b"".join(line for line in present.splitlines(keepends=True) if line.split()[:1] != [b"default"])

    def _put(self, path: PurePosixPath, data: bytes) -> None:
        if self._esp.read_optional(path) != data:
            self._esp.replace(path, data)

    def _present(self) -> list[EntryFile]:
        """Our entry files, with counters as they are now."""
        names = [name for name in map(FileName.parse, self._esp.names(_ENTRIES)) if name]
        return [EntryFile(name, self._esp.read(_ENTRIES / str(name))) for name in names]

    def _kernel(self, entry: BootEntry) -> Kernel:
        return self._measurer.kernel([on_machine(self._machine, path) for path in (entry.kernel, *entry.initramfs)])

    def _wanted(self, entry: BootEntry, kernel: Kernel) -> Wanted:
        initrd = [file.path for file in kernel.initrd]
        text = partial(_text, entry, kernel.linux.path, initrd)
        try:
            text(FileName("", 1))
        except ValueError as error:
            raise BootloaderError(NAME, f"entry {entry.deployment}: {error}", "correct the kernel arguments") from error
        return Wanted(entries.key_of(entry.deployment), text)

    def _copy(self, wanted: Sequence[Kernel], new_entries: int) -> None:
        """Bring kernels to the ESP. If they do not fit, what no entry names is removed first.

        A new default can share the kernel of an older deployment, and with it what a bad disk made of that: it is read.
        """
        files = kernels.missing(self._esp, wanted, wanted[:1] if new_entries else ())
        if not files and not new_entries:
            return
        try:
            kernels.require_room(self._esp, files, new_entries)
        except NoSpaceError:
            self._tidy(wanted)
            kernels.require_room(self._esp, files, new_entries)
        kernels.copy(self._esp, files)
        self._esp.make_directories(_ENTRIES)

    def _tidy(self, wanted: Sequence[Kernel]) -> None:
        """Remove what is named neither by `wanted` nor by an entry that is still there."""
        keys = [bls.parse(file.text) for file in self._present()]
        named = {PurePosixPath(path.lstrip("/")) for key in keys for path in (key.linux, *key.initrd)}
        kernels.sweep(self._esp, named | {file.path for kernel in wanted for file in kernel.files})

    def _verify(self, offered: Sequence[Kernel], wanted: Sequence[Wanted], final: Sequence[FileName]) -> None:
        """Read back: the files of this menu, no others, and nothing that overrides their order."""
        found = sorted(self._present(), key=lambda file: -file.name.rank)
        meant = [(want.key, want.text(name)) for want, name in zip(wanted, final, strict=True)]
        if [(file.name.key, file.text) for file in found] != meant:
            raise BootloaderError(NAME, "the entries on the ESP are not the ones that were written")
        for file in kernels.missing(self._esp, offered):
            raise BootloaderError(NAME, f"/{file.path} is missing on the ESP")
        if final:
            self._require_no_default(str(evolve(final[0], tries_left=None, tries_done=0)))

    def _require_no_default(self, first: str) -> None:
        """A `default` in loader.conf that names another entry would win over our order."""
        for line in (self._esp.read_optional(_LOADER_CONF) or b"").decode(errors="replace").splitlines():
            words = line.split()
            if words[:1] == ["default"] and not fnmatch(first, " ".join(words[1:])):
                raise BootloaderError(
                    NAME,
                    f"loader/loader.conf on the ESP sets {line.strip()!r}, which overrides the order of deployments",
                    "remove that line",
                )


def _text(entry: BootEntry, linux: PurePosixPath, initrd: Sequence[PurePosixPath], name: FileName) -> bytes:
    shown = entry if name.tries_left is None else counting.added(entry)
    return bls.render(shown, name.rank, linux, initrd)


def _without_counting(text: bytes) -> bytes:
    """The text of an entry file of ours as it would be without a counter."""
    lines = text.decode(errors="surrogateescape").split("\n")
    plain = (counting.removed_from(line) if line.startswith("options ") else line for line in lines)
    return "\n".join(plain).encode(errors="surrogateescape")
