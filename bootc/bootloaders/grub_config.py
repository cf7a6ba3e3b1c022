"""The static grub.cfg: written once at install, it shows whatever the backend's boot directory holds at power-on."""

from __future__ import annotations

from pathlib import PurePosixPath

from bootc.storage import MenuFormat

FOLDER = PurePosixPath("EFI/bootc")
PATH = FOLDER / "grub.cfg"
PREFIX = f"/{FOLDER}"
"""GRUB's `prefix`, built into its image: where it looks for grub.cfg on the partition that it came from"""

_MARK = "# menu: "

# syslinux_source boots the default at once if the file has no TIMEOUT: then it sets no timeout and loads a kernel
# without a menu entry, and `boot` is left to do. With a TIMEOUT it makes menu entries, the deployments in their order.
_SYSLINUX = """\
if [ -f ($root){loader}/syslinux.cfg ]; then
  unset timeout
  syslinux_source -s -r ($root)/ ($root){loader}/syslinux.cfg
  if [ -z "$timeout" ]; then boot; fi
else
  echo "no boot menu: {loader}/syslinux.cfg is missing on filesystem {uuid}"
  sleep 10
fi
"""
_BLS = """\
blscfg --path ($root){loader}/entries
"""


def render(format: MenuFormat, boot_uuid: str, loader: PurePosixPath, timeout: int) -> bytes:
    """The text of grub.cfg. `loader` is the absolute path of the loader directory on the filesystem `boot_uuid`."""
    body = (_SYSLINUX if format is MenuFormat.SYSLINUX else _BLS).format(loader=loader, uuid=boot_uuid)
    return (
        "# Written by bootc when the bootloader was installed. It follows the boot directory of the sysroot, which\n"
        "# changes in one step with the deployments, and is not rewritten by updates.\n"
        f"{_MARK}{format.value}\n"
        f"search --no-floppy --set=root --fs-uuid {boot_uuid}\n"
        f"{body}"
        "set default=0\n"
        f"set timeout={timeout}\n"
    ).encode()


def format_of(config: bytes) -> MenuFormat | None:
    """Which format an installed grub.cfg of ours reads; None if it is not ours."""
    for line in config.decode(errors="replace").splitlines():
        if line.startswith(_MARK):
            value = line.removeprefix(_MARK)
            return next((format for format in MenuFormat if format.value == value), None)
    return None
