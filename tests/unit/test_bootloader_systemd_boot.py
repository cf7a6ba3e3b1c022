"""systemd-boot on a directory and on a real FAT filesystem: entries, kernels, their order, and the power cut."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve, field, frozen

from bootc import platform
from bootc.bootloader import Count
from bootc.bootloaders.systemd_boot import SystemdBoot
from bootc.deployment import BootEntry, BootMenu, DeploymentId, KernelArguments
from bootc.durable import DirectoryVolume, Step, Volume
from bootc.errors import BootloaderError, NoSpaceError, UnsupportedPairError
from bootc.esp import MtoolsVolume
from bootc.machine import Firmware, Machine
from tests.boot_parts import MIB, DirectoryTree, cut_while_removing, fat_volume

SUFFIX = platform.current().efi_suffix
PROGRAM = f"usr/lib/systemd/boot/efi/systemd-boot{SUFFIX}.efi"
ENTRIES = PurePosixPath("loader/entries")
KERNELS = PurePosixPath("bootc")
FILES = {"linux": "vmlinuz", "initrd": "initramfs"}
"""what the keys of an entry name, and the files of an image"""


@frozen
class Lab:
    """A machine with an ESP, its bootloader, and every step that was taken on the ESP."""

    machine: Machine
    bootloader: SystemdBoot
    esp: Volume
    steps: list[Step] = field(factory=list)

    def entry(self, name: str, kernel: str = "one", *options: str, title: str = "Debian") -> BootEntry:
        """An entry whose kernel and initramfs are made of the word `kernel`."""
        folder = self.machine.root / "boot" / kernel
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("vmlinuz", "initramfs"):
            if not (folder / file).exists():
                (folder / file).write_bytes(f"{kernel} {file}\n".encode() * 1000)
        return BootEntry(
            DeploymentId(name),
            title,
            "1.0",
            PurePosixPath("boot", kernel, "vmlinuz"),
            (PurePosixPath("boot", kernel, "initramfs"),),
            KernelArguments((*options, f"id={name}")),
        )

    def menu(self, *names: str) -> BootMenu:
        """A menu of entries with a kernel each."""
        return BootMenu(tuple(self.entry(name, f"kernel-{name}") for name in names))

    def offered(self) -> list[str]:
        """Deployments in the order of `read`."""
        return [entry.deployment for entry in self.bootloader.read().entries]

    def writes(self) -> list[Step]:
        """The steps since the last call."""
        found = list(self.steps)
        self.steps.clear()
        return found


def open_lab(root: Path, make_esp: Callable[[Callable[[Step], None]], Volume]) -> Lab:
    (root / "sysroot").mkdir()
    steps: list[Step] = []
    esp = make_esp(steps.append)
    machine = Machine(DirectoryVolume(root / "sysroot"), PurePosixPath("state"), esp=esp)
    return Lab(machine, SystemdBoot(machine), esp, steps)


@pytest.fixture(params=["directory", "fat"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """The same tests on a mounted ESP and through mtools."""
    if request.param == "fat":
        return open_lab(tmp_path, lambda observer: fat_volume(tmp_path / "esp.img", 40 * MIB, observer))
    (tmp_path / "esp").mkdir()
    return open_lab(tmp_path, lambda observer: DirectoryVolume(tmp_path / "esp", "esp", observer))


@pytest.fixture
def tree(tmp_path: Path) -> DirectoryTree:
    """An image that holds nothing but a bootloader."""
    program = tmp_path / "tree" / PROGRAM
    program.parent.mkdir(parents=True)
    program.write_bytes(b"MZ bootloader")
    return DirectoryTree(tmp_path / "tree")


# ---------------------------------------------------------------- installing


def test_install_puts_the_images_bootloader_on_the_esp(lab: Lab, tree: DirectoryTree) -> None:
    lab.bootloader.check(tree)
    lab.bootloader.install(tree)
    assert lab.esp.read(PurePosixPath(f"EFI/BOOT/BOOT{SUFFIX.upper()}.EFI")) == b"MZ bootloader"
    assert lab.esp.read(PurePosixPath(f"EFI/systemd/systemd-boot{SUFFIX}.efi")) == b"MZ bootloader"
    assert lab.esp.read(PurePosixPath("loader/loader.conf")) == b"timeout 3\n"
    assert lab.esp.read(PurePosixPath("loader/entries.srel")) == b"type1\n"


def test_installing_again_changes_nothing(lab: Lab, tree: DirectoryTree) -> None:
    lab.bootloader.install(tree)
    lab.writes()
    lab.bootloader.install(tree)
    assert lab.writes() == []


def test_a_signed_bootloader_is_preferred(lab: Lab, tree: DirectoryTree) -> None:
    (tree.root / f"{PROGRAM}.signed").write_bytes(b"MZ signed")
    lab.bootloader.install(tree)
    assert lab.esp.read(PurePosixPath(f"EFI/BOOT/BOOT{SUFFIX.upper()}.EFI")) == b"MZ signed"


def test_a_default_in_loader_conf_goes_and_the_rest_stays(lab: Lab, tree: DirectoryTree) -> None:
    lab.esp.make_directories(PurePosixPath("loader"))
    lab.esp.replace(PurePosixPath("loader/loader.conf"), b"#timeout 9\ndefault arch.conf\nconsole-mode keep\n")
    lab.bootloader.install(tree)
    assert lab.esp.read(PurePosixPath("loader/loader.conf")) == b"#timeout 9\nconsole-mode keep\n"


def test_an_image_without_systemd_boot_is_refused(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(BootloaderError, match="the image has no usr/lib/systemd/boot/efi"):
        lab.bootloader.check(DirectoryTree(tmp_path / "sysroot"))


def test_firmware_that_can_only_be_bios_is_refused(lab: Lab, tree: DirectoryTree) -> None:
    machine = evolve(lab.machine, firmware=frozenset({Firmware.BIOS}))
    with pytest.raises(UnsupportedPairError, match="does not start BIOS"):
        SystemdBoot(machine).check(tree)


def test_a_disk_that_has_room_for_bios_firmware_too_is_fine(lab: Lab, tree: DirectoryTree) -> None:
    SystemdBoot(evolve(lab.machine, firmware=frozenset({Firmware.UEFI, Firmware.BIOS}))).check(tree)


def test_a_machine_without_an_esp_is_refused(lab: Lab, tree: DirectoryTree) -> None:
    with pytest.raises(BootloaderError, match="no EFI system partition"):
        SystemdBoot(evolve(lab.machine, esp=None)).check(tree)


# ---------------------------------------------------------------- the menu


def test_the_menu_reads_back_as_it_was_written(lab: Lab) -> None:
    menu = lab.menu("b", "a")
    lab.bootloader.write(menu)
    assert lab.bootloader.read() == menu


def test_the_same_menu_again_writes_nothing(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("b", "a"))
    lab.writes()
    SystemdBoot(lab.machine).write(lab.menu("b", "a"))
    assert lab.writes() == []


def test_upgrade_and_rollback_change_the_default(lab: Lab) -> None:
    for names in (["a"], ["b", "a"], ["a", "b"], ["c", "a"], ["c"]):
        lab.bootloader.write(lab.menu(*names))
        assert lab.offered() == names


def test_equal_kernels_are_stored_once(lab: Lab) -> None:
    lab.bootloader.write(BootMenu((lab.entry("a", "same"), lab.entry("b", "same"), lab.entry("c", "other"))))
    assert len(lab.esp.names(KERNELS)) == 4


def test_kernels_that_no_entry_names_are_removed(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("b", "a"))
    lab.bootloader.write(lab.menu("b"))
    assert len(lab.esp.names(KERNELS)) == 2


def test_prepared_entries_get_files_and_are_not_offered(lab: Lab) -> None:
    lab.bootloader.write(evolve(lab.menu("a"), prepared=lab.menu("b").entries))
    assert lab.offered() == ["a"]
    assert len(lab.esp.names(KERNELS)) == 4
    lab.writes()
    lab.bootloader.write(lab.menu("b", "a"))
    assert not [step for step in lab.writes() if step.paths and step.paths[0].startswith("bootc/")]


def test_entries_and_kernels_of_others_stay(lab: Lab) -> None:
    foreign = {
        PurePosixPath("loader/entries/arch.conf"): b"title Arch\n",
        PurePosixPath("loader/entries/bootc_debian-13-1.conf"): b"title other bootc\n",
        PurePosixPath("EFI/Linux/arch.efi"): b"MZ",
    }
    for path, data in foreign.items():
        lab.esp.make_directories(path.parent)
        lab.esp.replace(path, data)
    for names in (["b", "a"], ["c", "b"], []):
        lab.bootloader.write(lab.menu(*names))
    assert {path: lab.esp.read(path) for path in foreign} == foreign


def test_a_changed_title_is_a_new_file_and_the_counter_goes_along(lab: Lab) -> None:
    lab.bootloader.write(BootMenu((lab.entry("a"),)), tries=3)
    lab.bootloader.write(BootMenu((lab.entry("a", title="New"),)), tries=5)
    (entry,) = lab.bootloader.read().entries
    assert (entry.title, entry.tries_left) == ("New", 3)


def test_a_damaged_entry_of_ours_is_replaced(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("a"))
    (name,) = lab.esp.names(ENTRIES)
    lab.esp.replace(ENTRIES / name, b"title half wri")
    assert lab.offered() == []
    lab.bootloader.write(lab.menu("a"))
    assert lab.offered() == ["a"]
    assert len(lab.esp.names(ENTRIES)) == 1


def test_leftovers_of_a_power_cut_are_removed(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("a"))
    leftovers = (ENTRIES / ".bootc-tmp-0123", KERNELS / ".bootc-tmp-0123")
    for path in leftovers:
        lab.esp.replace(path, b"half")
    lab.bootloader.write(lab.menu("a"))
    assert [lab.esp.size(path) for path in leftovers] == [None, None]


def test_a_half_written_file_takes_nothing_with_it(lab: Lab) -> None:
    """On FAT its clusters may be free, and would be those of the next file."""
    lab.bootloader.write(lab.menu("a"))
    if isinstance(lab.esp, MtoolsVolume):
        cut_while_removing(lab.esp, ENTRIES / ".bootc-tmp-0123456789ab")
    lab.bootloader.write(lab.menu("b", "a"))
    assert lab.offered() == ["b", "a"]


def test_a_kernel_of_wrong_size_is_copied_again(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("a"))
    (initrd,) = (KERNELS / name for name in lab.esp.names(KERNELS) if name.endswith(".initrd"))
    lab.esp.replace(initrd, b"short")
    lab.bootloader.write(lab.menu("a"))
    assert lab.esp.read(initrd) == b"kernel-a initramfs\n" * 1000


def test_a_damaged_kernel_is_not_what_a_new_default_starts(lab: Lab) -> None:
    first, second = lab.entry("first", "same"), lab.entry("second", "same")
    lab.bootloader.write(BootMenu((first,)))
    (path,) = (KERNELS / name for name in lab.esp.names(KERNELS) if name.endswith(".linux"))
    whole = lab.esp.read(path)
    lab.esp.replace(path, whole[::-1])
    lab.bootloader.write(BootMenu((second, first)))
    assert lab.esp.read(path) == whole


def test_arguments_that_cannot_be_written_are_refused_before_anything_changes(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("a"))
    lab.writes()
    evil = (lab.entry("evil", "one", "x\ninitrd /evil"),)
    for menu in (BootMenu(evil), evolve(lab.menu("a"), prepared=evil)):
        with pytest.raises(BootloaderError, match="entry evil: a kernel argument contains"):
            lab.bootloader.write(menu)
        assert lab.writes() == []
    assert lab.offered() == ["a"]


def test_hostile_ids_and_titles_harm_nothing(lab: Lab) -> None:
    entry = lab.entry("../../EFI/BOOT/x\n", title="Debian\nlinux /evil")
    menu = BootMenu((evolve(entry, options=KernelArguments(("rw",))),))
    lab.bootloader.write(menu)
    assert lab.bootloader.read() == menu


def test_a_default_in_loader_conf_that_wins_over_the_order_is_an_error(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("a"))
    lab.esp.replace(PurePosixPath("loader/loader.conf"), b"default arch.conf\n")
    with pytest.raises(BootloaderError, match="overrides the order") as caught:
        lab.bootloader.write(lab.menu("a"))
    assert caught.value.hint == "remove that line"


# ---------------------------------------------------------------- boot counting


def test_new_entries_are_counted_until_they_are_good(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("a"))
    lab.bootloader.write(lab.menu("b", "a"), tries=3)
    assert [(e.deployment, e.tries_left) for e in lab.bootloader.read().entries] == [("b", 3), ("a", None)]
    boot_once(lab)
    assert [(e.tries_left, e.tries_done) for e in lab.bootloader.read().entries] == [(2, 1), (None, 0)]
    lab.bootloader.mark_good(DeploymentId("b"))
    assert [(e.deployment, e.tries_left) for e in lab.bootloader.read().entries] == [("b", None), ("a", None)]


def test_an_entry_without_tries_left_comes_last_and_is_kept(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("a"))
    lab.bootloader.write(lab.menu("b", "a"), tries=1)
    boot_once(lab)
    lab.writes()
    lab.bootloader.write(lab.menu("b", "a"), tries=1)
    assert lab.writes() == []
    assert lab.offered() == ["a", "b"]


def test_while_an_entry_is_counted_panics_and_a_dying_init_reboot(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("a"))
    lab.bootloader.write(lab.menu("b", "a"), tries=3)
    unit = (
        "W1VuaXRdCkRlZmF1bHREZXBlbmRlbmNpZXM9bm8KU3VjY2Vzc0FjdGlvbj1yZWJvb3QtZm9yY2UKW1NlcnZpY2VdClR5cGU9b25lc2hvdAo="
    )
    credential = f"systemd.set_credential_binary=systemd.extra-unit.emergency.service:{unit}"
    more = f"bootc.counting panic=10 systemd.crash_reboot=yes systemd.crash_action=reboot {credential}"
    assert options(lab) == ["id=b " + more, "id=a"]
    assert lab.bootloader.read().without_tries() == lab.menu("b", "a")
    lab.bootloader.mark_good(DeploymentId("b"))
    assert options(lab) == ["id=b", "id=a"]
    lab.writes()
    lab.bootloader.write(lab.menu("b", "a"), tries=3)
    assert lab.writes() == []


def test_what_another_version_added_for_counting_goes_too(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("b"), tries=3)
    (counted,) = lab.esp.names(ENTRIES)
    text = lab.esp.read(ENTRIES / counted)
    lab.esp.replace(ENTRIES / counted, re.sub(rb" panic=10 .*", b" panic=99 of.a.later=version", text))
    assert [str(entry.options) for entry in lab.bootloader.read().entries] == ["id=b"]
    lab.bootloader.mark_good(DeploymentId("b"))
    assert options(lab) == ["id=b"]


def test_the_default_alone_is_counted(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("a"))
    lab.bootloader.write(lab.menu("c", "b", "a"), tries=2)
    assert [entry.tries_left for entry in lab.bootloader.read().entries] == [2, None, None]


def test_a_count_tells_tries_left_and_done(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("b"), tries=2)
    boot_once(lab)
    assert lab.bootloader.count(DeploymentId("b")) == Count(1, 1)
    boot_once(lab)
    assert lab.bootloader.count(DeploymentId("b")) == Count(0, 2)
    lab.bootloader.mark_good(DeploymentId("b"))
    assert [lab.bootloader.count(DeploymentId(id)) for id in "bx"] == [None, None]


def test_at_every_power_cut_while_marking_good_the_entry_is_there_and_is_good_in_the_end(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("a"))
    lab.bootloader.write(lab.menu("b", "a"), tries=3)
    boot_once(lab)
    (counted,) = (name for name in lab.esp.names(ENTRIES) if "+" in name)
    text = lab.esp.read(ENTRIES / counted)
    lab.bootloader.mark_good(DeploymentId("b"))
    lab.esp.replace(ENTRIES / counted, text)  # as if its removal had not come to pass
    assert lab.bootloader.count(DeploymentId("b")) is None
    lab.bootloader.write(lab.menu("b", "a"), tries=3)
    assert [(e.deployment, e.tries_left) for e in lab.bootloader.read().entries] == [("b", None), ("a", None)]
    assert len(lab.esp.names(ENTRIES)) == 2


def test_what_systemd_bless_boot_renamed_gets_its_plain_arguments_back(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("b"), tries=3)
    (counted,) = lab.esp.names(ENTRIES)
    lab.esp.rename(ENTRIES / counted, ENTRIES / re.sub(r"\+.*", ".conf", counted))
    lab.bootloader.write(lab.menu("b"))
    assert options(lab) == ["id=b"]


def options(lab: Lab) -> list[str]:
    """Of all entries, as they stand on the ESP, the default first."""
    files = sorted(lab.esp.names(ENTRIES), key=lambda name: -int(re.split(r"[-.+]", name)[2]))
    lines = "".join(lab.esp.read(ENTRIES / name).decode() for name in files).splitlines()
    return [line.removeprefix("options ") for line in lines if line.startswith("options ")]


def test_marking_an_unknown_deployment_good_is_an_error(lab: Lab) -> None:
    with pytest.raises(BootloaderError, match="no boot entry for x"):
        lab.bootloader.mark_good(DeploymentId("x"))


def boot_once(lab: Lab) -> None:
    """What systemd-boot does to the file of an entry with a counter when it starts it."""
    for name in lab.esp.names(ENTRIES):
        found = re.fullmatch(r"(.*)\+(\d+)(?:-(\d+))?\.conf", name)
        if found:
            left, done = int(found[2]) - 1, int(found[3] or 0) + 1
            lab.esp.rename(ENTRIES / name, ENTRIES / f"{found[1]}+{left}-{done}.conf")


# ---------------------------------------------------------------- a full ESP


def test_a_full_esp_is_an_error_before_anything_is_removed(tmp_path: Path) -> None:
    lab = open_lab(tmp_path, lambda observer: fat_volume(tmp_path / "esp.img", 40 * MIB, observer))
    menu = lab.menu("a")
    lab.bootloader.write(menu)
    (lab.machine.root / "boot/big").mkdir()
    (lab.machine.root / "boot/big/vmlinuz").write_bytes(bytes(40 * MIB))
    big = lab.entry("big", "big")
    for full in (BootMenu((big,)), evolve(menu, prepared=(big,))):
        lab.writes()
        with pytest.raises(NoSpaceError, match="kernels and initramfs images in the EFI system partition"):
            lab.bootloader.write(full)
        assert lab.writes() == []
        assert lab.bootloader.read() == menu


def test_room_is_made_by_kernels_that_nothing_names(tmp_path: Path) -> None:
    lab = open_lab(tmp_path, lambda observer: fat_volume(tmp_path / "esp.img", 40 * MIB, observer))
    for name in ("a", "b"):
        (lab.machine.root / f"boot/kernel-{name}").mkdir(parents=True)
        (lab.machine.root / f"boot/kernel-{name}/vmlinuz").write_bytes(name.encode() * 24 * MIB)
    lab.bootloader.write(BootMenu((), prepared=lab.menu("a").entries))
    lab.bootloader.write(lab.menu("b"))
    assert lab.offered() == ["b"]


# ---------------------------------------------------------------- power cuts


@frozen
class Disk:
    """An ESP as a power cut leaves it: files with their content, and what of it had been synced."""

    files: dict[str, bytes] = field(factory=dict)
    synced: dict[str, bytes] = field(factory=dict)

    def take(self, step: Step) -> None:
        """Carry out one recorded step."""
        match step.name, tuple(path.casefold() for path in step.paths):  # as FAT compares names
            case "create", (path,):
                self.files[path], self.synced[path] = b"", b""
            case "write", (path,):
                self.files[path] += step.data or b""
            case "fsync", (path,) if path in self.files:
                self.synced[path] = self.files[path]
            case "rename", (old, new):
                self.files[new], self.synced[new] = self.files.pop(old), self.synced.pop(old)
            case "unlink", (path,):
                del self.files[path], self.synced[path]
            case (("mkdir" | "rmdir" | "fsync" | "syncfs"), _):
                pass
            case other:
                raise AssertionError(other)


def default(files: dict[str, bytes]) -> str | None:
    """What systemd-boot would start: the deployment in the options of its first entry, if all its files are whole."""
    found = []
    for path, data in files.items():
        name = path.removeprefix("loader/entries/")
        if path != name and name.endswith(".conf") and not name.startswith("."):
            keys = dict(line.split(" ", 1) for line in data.decode().splitlines() if not line.startswith("#"))
            exhausted = re.search(r"\+0(-\d+)?\.conf$", name) is not None
            found.append((exhausted, keys["sort-key"], -int(keys["version"].partition("-")[0]), keys))
    if not found:
        return None
    keys = min(found, key=lambda one: one[:3])[3]
    deployment = keys["options"].rpartition("id=")[2]
    for key, file in FILES.items():
        content = files.get(keys[key].lstrip("/"), b"")
        assert content == f"kernel-{deployment} {file}\n".encode() * 1000, f"{keys[key]} is not whole"
    return deployment


STORIES: dict[str, Sequence[Sequence[str]]] = {
    "first": [["a"]],
    "upgrade": [["a"], ["b", "a"]],
    "upgrade that drops one": [["b", "a"], ["c", "b"]],
    "rollback": [["b", "a"], ["a", "b"]],
    "rollback and back": [["b", "a"], ["a", "b"], ["b", "a"]],
    "insert below": [["b", "a"], ["b", "c", "a"]],
    "drop the default": [["c", "b", "a"], ["b", "a"]],
    "everything new": [["b", "a"], ["d", "c"]],
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_at_every_power_cut_a_whole_entry_is_the_default(lab: Lab, story: Sequence[Sequence[str]]) -> None:
    """Before the switch the old default, after it the new one, and files that were not synced count as lost."""
    disk, old = Disk(), None
    for names in story:
        lab.bootloader.write(lab.menu(*names))
        seen = []
        for step in lab.writes():
            seen.append(default(disk.files))
            assert default(disk.synced) == seen[-1]
            disk.take(step)
        seen.append(default(disk.files))
        assert [one for one, before in zip(seen, [None, *seen], strict=False) if one != before] == (
            [names[0]] if old in (None, names[0]) else [old, names[0]]
        )
        old = names[0]


def test_a_write_that_was_cut_is_completed_by_the_next(tmp_path: Path) -> None:
    """The power fails before each step in turn; after the next write everything is as if it had not."""

    class PowerCut(BaseException):
        pass

    def run(cut: int) -> bool:
        root = tmp_path / str(cut)
        (root / "esp").mkdir(parents=True)
        left = [-1]

        def observe(step: Step) -> None:
            if left[0] == 0:
                raise PowerCut
            left[0] -= 1

        lab = open_lab(root, lambda observer: DirectoryVolume(root / "esp", "esp", observe))
        lab.bootloader.write(lab.menu("b", "a"))
        left[0] = cut
        try:
            lab.bootloader.write(lab.menu("c", "b"), tries=2)
        except PowerCut:
            was_cut = True
        else:
            was_cut = False
        left[0] = -1
        lab.bootloader.write(lab.menu("c", "b"), tries=2)
        assert lab.bootloader.read().without_tries() == lab.menu("c", "b")
        assert len(lab.esp.names(ENTRIES)) == 2
        assert len(lab.esp.names(KERNELS)) == 4
        return was_cut

    cuts = 0
    while run(cuts):
        cuts += 1
    assert cuts > 10


def test_kernels_are_named_by_their_content(lab: Lab) -> None:
    lab.bootloader.write(lab.menu("a"))
    contents = {kind: f"kernel-a {file}\n".encode() * 1000 for kind, file in FILES.items()}
    named = (f"{hashlib.sha256(content).hexdigest()}.{kind}" for kind, content in contents.items())
    assert lab.esp.names(KERNELS) == tuple(sorted(named))


def test_an_update_makes_no_directory(lab: Lab, tree: DirectoryTree) -> None:
    """One that a power cut leaves half made can neither be read nor removed on FAT."""
    lab.bootloader.install(tree)
    lab.bootloader.write(lab.menu("a"))
    lab.writes()
    for names in (["b", "a"], ["c", "b"], ["b"]):
        lab.bootloader.write(lab.menu(*names))
    taken = [step.name for step in lab.writes()]
    assert taken.count("create") > 4
    assert "mkdir" not in taken
