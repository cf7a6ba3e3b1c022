"""GRUB, made by the image's own grub-mkimage, with a static grub.cfg that follows the backend's boot directory.

The backend's switch (ostree: the link /boot/loader) is the switch of the menu. After the install only the environment
block is written, by which boots are counted; what GRUB will read is read back and compared.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from attrs import evolve

from bootc import blockdev, platform
from bootc.blockdev import PartitionTable
from bootc.bootloader import BootCounting, Bootloader, Count
from bootc.bootloaders import grub_bios, grub_block, grub_config, grub_image, grub_menu, support
from bootc.bootloaders.bls import Keys
from bootc.bootloaders.grub_block import Block
from bootc.bootloaders.paths import boot_directory, boot_root, on_machine
from bootc.bootloaders.support import Kind
from bootc.deployment import BootEntry, BootMenu, DeploymentId, KernelArguments
from bootc.durable import Volume
from bootc.errors import BootloaderError, UnsupportedPairError
from bootc.machine import Filesystem, Firmware, Machine
from bootc.platform import ESP_TYPE
from bootc.storage import MenuFormat, Tree

NAME = "grub"

_DIRECTORY = PurePosixPath("boot/loader/entries")


class Grub(Bootloader, BootCounting):
    """Before 2.14 GRUB reads a syslinux.cfg that the backend keeps, from then on the entries themselves.

    `menu_format` is what the installed grub.cfg reads; after `check`, what the image's GRUB can read.
    """

    def __init__(self, machine: Machine, timeout: int = 3) -> None:
        self._machine, self._timeout = machine, timeout
        self.menu_format = self._installed_format()

    # ------------------------------------------------------------ the bootloader itself

    def check(self, tree: Tree) -> None:
        support.require(NAME, self._machine.firmware, self._filesystem)
        mount = blockdev.mount_of(boot_root(self._machine))
        if mount.is_mapped:
            raise UnsupportedPairError(NAME, "/boot is on LVM, RAID or an encrypted device", "use a plain partition")
        if mount.directory != "/":
            problem = f"/boot is on a btrfs subvolume or bind mount ({mount.directory} of its filesystem)"
            raise UnsupportedPairError(NAME, problem, "use the top of a filesystem")
        if self._filesystem is None or self._filesystem.uuid is None:
            raise BootloaderError(NAME, "the filesystem that holds /boot has no UUID to find it by")
        self._esp.free()
        targets = self._targets(tree)
        for target in targets:
            grub_image.require(tree, target)
        if grub_image.BIOS_TARGET in targets:
            grub_bios.place(self._table())
        self.menu_format = grub_image.menu_format(tree, targets[0])

    def install(self, tree: Tree) -> None:
        self.check(tree)
        self._esp.make_directories(grub_config.FOLDER)
        targets = self._targets(tree)
        is_counting = all(grub_image.has_counting(tree, target) for target in targets)
        for target in targets if is_counting else ():
            self._install_modules(tree, target)
        self._put(grub_config.PATH, self._config(is_counting))
        for target in targets:
            if target == grub_image.BIOS_TARGET:
                self._install_bios(tree)
            else:
                self._install_efi(tree, target)

    # ------------------------------------------------------------ the menu

    def read(self) -> BootMenu:
        """What GRUB will offer. Deployments are named by the directory that their options lead to."""
        block = self._block()
        entries = [_counted(self._entry(keys), block) for keys in self._found()]
        return BootMenu(tuple(sorted(entries, key=lambda entry: entry.tries_left == 0)), directory=_DIRECTORY)

    def write(self, menu: BootMenu, tries: int | None = None) -> None:
        kind = Kind.OWN if menu.directory is None else Kind.DIRECTORY
        support.require(NAME, self._machine.firmware, self._filesystem, kind)
        if menu.directory != _DIRECTORY:
            raise UnsupportedPairError(NAME, f"follows {_DIRECTORY}, not {menu.directory}")
        for entry in (*menu.prepared, *menu.entries[:1]):
            grub_menu.require_plain(entry, self.menu_format)
        self._write_block(menu, tries)
        if menu.entries:
            self._require_default(menu)

    # ------------------------------------------------------------ counting

    def uncounted(self) -> str | None:
        config = self._machine.esp.read_optional(grub_config.PATH) if self._machine.esp else None
        if config is None or not grub_config.is_counting(config):
            return "the GRUB that is installed was set up without it"
        return None

    def new_mark(self) -> str:
        return grub_block.new_mark()

    def count(self, deployment: DeploymentId) -> Count | None:
        block = self._block()
        return block.count if block and block.deployment == deployment and not block.is_good else None

    def mark_good(self, deployment: DeploymentId) -> None:
        block = self._block()
        if block is None or block.deployment != deployment:
            raise BootloaderError(NAME, f"the boots of {deployment} are not counted", "publish the boot menu first")
        self._put(grub_config.BLOCK, evolve(block, is_good=True).render())

    def _block(self) -> Block | None:
        data = self._machine.esp.read_optional(grub_config.BLOCK) if self._machine.esp else None
        return Block.parse(data) if data else None

    def _write_block(self, menu: BootMenu, tries: int | None) -> None:
        """Count the entry that is to become the default, or is it; forget one that is in the menu no more."""
        present = self._block()
        new = next(iter((*menu.prepared, *menu.entries)), None)
        key = grub_block.key_of(new) if new else None
        if tries and new and key and self.uncounted() is None:
            if present is None or present.key != key:
                block = Block(key, new.deployment, min(tries, grub_block.MOST), min(tries, grub_block.MOST))
                self._esp.make_directories(grub_config.FOLDER)
                self._put(grub_config.BLOCK, block.render())
        elif present and present.key not in map(grub_block.key_of, (*menu.prepared, *menu.entries)):
            self._esp.remove(grub_config.BLOCK)

    # ------------------------------------------------------------ parts

    @property
    def _esp(self) -> Volume:
        if self._machine.esp is None:
            raise BootloaderError(NAME, "this machine has no EFI system partition", "create one; BIOS needs it too")
        return self._machine.esp

    @property
    def _filesystem(self) -> Filesystem | None:
        return self._machine.boot_filesystem or self._machine.filesystem

    def _require_default(self, menu: BootMenu) -> None:
        """Compare the first entry that GRUB will offer. Deployments that the menu leaves out, because the next step
        destroys them, stay in the backend's directory until then and do not count."""
        root, default = self._machine.root, menu.entries[0]
        named = {grub_menu.root_of(str(entry.options), root) for entry in menu.entries}
        places = [(keys, grub_menu.root_of(keys.options, root)) for keys in self._found()]
        found = tuple(keys for keys, place in places if place is None or place in named)
        sources = [on_machine(self._machine, path) for path in (default.kernel, *default.initramfs)]
        grub_menu.require_default(found, default, sources, boot_root(self._machine), root)

    def _targets(self, tree: Tree) -> tuple[str, ...]:
        """GRUB's names for the machine's ways of starting, as far as the image has a GRUB for them; at least one."""
        wanted = []
        if Firmware.UEFI in self._machine.firmware:
            wanted.append(grub_image.efi_target(platform.current()))
        if Firmware.BIOS in self._machine.firmware:
            wanted.append(grub_image.BIOS_TARGET)
        found = tuple(target for target in wanted if grub_image.has(tree, target))
        return found or tuple(wanted[:1])

    def _table(self) -> PartitionTable:
        table = blockdev.read_table(self._machine.disk) if self._machine.disk else None
        if table is None:
            raise BootloaderError(NAME, "the disk that BIOS firmware starts is not known, or has no partition table")
        return table

    def _install_efi(self, tree: Tree, target: str) -> None:
        image = grub_image.make(tree, target, grub_config.PREFIX)
        suffix = platform.current().efi_suffix
        for path in (f"EFI/BOOT/BOOT{suffix.upper()}.EFI", f"{grub_config.FOLDER}/grub{suffix}.efi"):
            self._esp.make_directories(PurePosixPath(path).parent)
            self._put(PurePosixPath(path), image)

    def _install_modules(self, tree: Tree, target: str) -> None:
        """What the script of grub.cfg loads instead of what is built in."""
        folder = grub_config.FOLDER / target
        self._esp.make_directories(folder)
        for name in grub_image.LOADERS:
            self._put(folder / f"{name}.mod", grub_image.read(tree, target, f"{name}.mod"))

    def _install_bios(self, tree: Tree) -> None:
        """core.img finds grub.cfg by the number of the ESP on the drive that it was started from."""
        table = self._table()
        esp = table.find(ESP_TYPE)
        if esp is None:
            raise BootloaderError(NAME, f"{table.disk} has no EFI system partition for grub.cfg")
        core = grub_image.make(tree, grub_image.BIOS_TARGET, f"(,gpt{esp.number}){grub_config.PREFIX}")
        grub_bios.embed(table, grub_image.read(tree, grub_image.BIOS_TARGET, "boot.img"), core)

    def _config(self, is_counting: bool) -> bytes:
        if self._filesystem is None or self._filesystem.uuid is None:
            raise BootloaderError(NAME, "the filesystem that holds /boot has no UUID to find it by")
        loader = PurePosixPath("/loader" if self._machine.boot_filesystem else "/boot/loader")
        return grub_config.render(
            self.menu_format, self._filesystem.uuid, loader, self._timeout, is_counting=is_counting
        )

    def _put(self, path: PurePosixPath, data: bytes) -> None:
        if self._esp.read_optional(path) != data:
            self._esp.replace(path, data)

    def _installed_format(self) -> MenuFormat:
        """By the grub.cfg on the ESP; where there is none (yet), by what the backend keeps."""
        config = self._machine.esp.read_optional(grub_config.PATH) if self._machine.esp else None
        found = grub_config.format_of(config) if config else None
        has_syslinux = (boot_directory(self._machine) / "loader/syslinux.cfg").exists()
        return found or (MenuFormat.SYSLINUX if has_syslinux else MenuFormat.BLS)

    def _found(self) -> tuple[Keys, ...]:
        loader = boot_directory(self._machine) / "loader"
        try:
            if self.menu_format is MenuFormat.SYSLINUX:
                return grub_menu.read_syslinux((loader / "syslinux.cfg").read_bytes())
            return grub_menu.read_entries(loader / "entries")
        except FileNotFoundError:
            return ()

    def _entry(self, keys: Keys) -> BootEntry:
        root = grub_menu.root_of(keys.options, self._machine.root)
        return BootEntry(
            DeploymentId(root.name if root else keys.title),
            keys.title,
            keys.version,
            self._below_sysroot(keys.linux),
            tuple(map(self._below_sysroot, keys.initrd)),
            KernelArguments.parse(keys.options),
        )

    def _below_sysroot(self, path: str) -> PurePosixPath:
        relative = PurePosixPath(path.lstrip("/"))
        return "boot" / relative if self._machine.boot_filesystem else relative


def _counted(entry: BootEntry, block: Block | None) -> BootEntry:
    if block is None or block.is_good or grub_block.key_of(entry) != block.key:
        return entry
    return evolve(entry, tries_left=block.left, tries_done=block.count.done)
