"""Type 1 entries: what is written reads back, and hostile text stays on its line."""

from pathlib import PurePosixPath

import pytest

from bootc.bootloaders import bls
from bootc.bootloaders.bls import Keys
from bootc.deployment import BootEntry, DeploymentId, KernelArguments

LINUX = PurePosixPath("bootc/abc/linux")
INITRD = (PurePosixPath("bootc/abc/initrd"), PurePosixPath("bootc/abc/initrd1"))


def entry(title: str = "Debian 13", version: str = "1.2", *options: str) -> BootEntry:
    initramfs = (PurePosixPath("boot/initramfs"), PurePosixPath("boot/extra"))
    arguments = KernelArguments(options or ("root=UUID=1", "rw"))
    return BootEntry(DeploymentId("a/b.0"), title, version, PurePosixPath("boot/vmlinuz"), initramfs, arguments)


def test_an_entry_is_written_as_the_specification_says() -> None:
    lines = bls.render(entry(), 7, LINUX, INITRD).decode().splitlines()
    assert lines[1:] == [
        "title Debian 13",
        "sort-key bootc",
        "version 7-1.2",
        "linux /bootc/abc/linux",
        "initrd /bootc/abc/initrd",
        "initrd /bootc/abc/initrd1",
        "options root=UUID=1 rw",
    ]
    assert lines[0].startswith("# bootc {")


HOSTILE = {
    "line feed": "Debian\nlinux /evil",
    "carriage return": "Debian\r\noptions init=/bin/sh",
    "comment": "# bootc {}",
    "escape sequence": "\x1b[2JDebian",
    "line separator": "Debian\u2028linux /evil",
    "not UTF-8": "Debian \udcff",
    "nothing": "",
    "key": "title linux /evil",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_titles_and_versions_stay_on_their_line_and_read_back(text: str) -> None:
    hostile = entry(text, text)
    data = bls.render(hostile, 1, LINUX, INITRD[:1])
    keys = [line.split()[0] for line in data.decode().split("\n") if line]
    assert keys == ["#", "title", "sort-key", "version", "linux", "initrd", "options"]
    assert bls.entry_of(data) == hostile
    assert bls.parse(data).linux == "/bootc/abc/linux"


REFUSED = {
    "line feed": ("root=x\ninitrd /evil",),
    "space": ("root=x init=/bin/sh",),
    "open quote": ('a="b',),
    "escape": ("a=\x1b",),
    "quoted at both ends": ('"a b"', "c", '"d e"'),
    "empty": ("", "a"),
}


@pytest.mark.parametrize("options", REFUSED.values(), ids=REFUSED.keys())
def test_arguments_that_would_not_arrive_as_meant_are_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="kernel argument"):
        bls.render(entry("t", "1", *options), 1, LINUX, ())


def test_quoted_values_are_kept() -> None:
    wanted = entry("t", "1", 'dyndbg="file a.c +p"', "ostree=/x")
    assert bls.entry_of(bls.render(wanted, 1, LINUX, INITRD)) == wanted


def test_options_come_from_the_line_that_boots() -> None:
    data = bls.render(entry(), 1, LINUX, INITRD).replace(b"options root=UUID=1 rw", b"options single")
    found = bls.entry_of(data)
    assert found is not None
    assert found.options == KernelArguments(("single",))


DAMAGED = {
    "no comment": b"title x\nlinux /x\n",
    "no JSON": b"# bootc {\n",
    "other JSON": b"# bootc []\n",
    "keys missing": b'# bootc {"deployment": "x"}\n',
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_entry_is_none_of_ours(data: bytes) -> None:
    assert bls.entry_of(data) is None


def test_entries_of_others_are_read_with_unknown_keys_ignored() -> None:
    text = (
        b"# by ostree\n\n"
        b"title  Debian GNU/Linux 13 (trixie) (ostree:0)\n"
        b"version\t1\r\n"
        b"aboot /ostree/deploy/x/aboot.img\n"
        b"options root=UUID=x\n"
        b"  linux /boot/ostree/x/vmlinuz\n"
        b"initrd /boot/ostree/x/initramfs\n"
        b"initrd /boot/extra.img\n"
        b"options rw  ostree=/ostree/boot.1/x/y/0\n"
        b"novalue\n"
    )
    assert bls.parse(text) == Keys(
        "Debian GNU/Linux 13 (trixie) (ostree:0)",
        "1",
        "/boot/ostree/x/vmlinuz",
        ("/boot/ostree/x/initramfs", "/boot/extra.img"),
        "root=UUID=x rw  ostree=/ostree/boot.1/x/y/0",
    )
