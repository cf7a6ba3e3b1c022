"""The static grub.cfg: written once at install, it shows whatever the backend's boot directory holds at power-on.

Counting: the commands that load a kernel are taken away and stand on the ESP as modules, functions of their names take
their place. So the script sees the kernel arguments of the very entry that starts, whoever made the entry: if it has
the mark of the environment block, a try is taken off, written to the disk, and arguments are added; without a try left
the entry fails, and GRUB's own fall-back starts the next one. That comes past the functions, as the real commands are
back by then: so an entry that starts without a word in the block shows that the one before it could not be loaded.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from bootc.bootloaders import counting, grub_block
from bootc.storage import MenuFormat

FOLDER = PurePosixPath("EFI/bootc")
PATH = FOLDER / "grub.cfg"
BLOCK = FOLDER / "counting"
"""the environment block"""
PREFIX = f"/{FOLDER}"
"""GRUB's `prefix`, built into its image: where it looks for grub.cfg on the partition that it came from"""

_MARK = "# menu: "
_COUNTING = "# counting: 1"

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
# A command goes before a function of its name, so the functions do nothing before the commands are gone.
_COUNT = """\
set bootc_block=$prefix/counting
function linux {{ bootc_start linux "$@"; }}
function linux16 {{ bootc_start linux16 "$@"; }}
function bootc_start {{
  insmod $1
  for word in "$@"; do
    if [ "$word" = "bootc.key=$bootc_key" ]; then
      bootc_try "$@"
      return $?
    fi
  done
  set bootc_last=other
  save_env -f $bootc_block bootc_last
  "$@"
}}
function bootc_try {{
{countdown}
  else
    echo "bootc: no boot of this deployment was completed; the one before it is started"
    return 1
  fi
  set bootc_last=this
  save_env -f $bootc_block bootc_left bootc_last
  "$@" {arguments}
}}
if [ -s $bootc_block ]; then load_env -f $bootc_block bootc_key bootc_left; fi
if [ -n "$bootc_key" -a -f $prefix/$grub_cpu-$grub_platform/linux.mod ]; then
  if [ "$grub_platform" = pc ]; then rmmod linux16; fi
  rmmod linux
fi
"""


def render(
    format: MenuFormat, boot_uuid: str, loader: PurePosixPath, timeout: int, *, is_counting: bool = False
) -> bytes:
    """The text of grub.cfg. `loader` is the absolute path of the loader directory on the filesystem `boot_uuid`."""
    body = (_SYSLINUX if format is MenuFormat.SYSLINUX else _BLS).format(loader=loader, uuid=boot_uuid)
    return (
        "# Written by bootc when the bootloader was installed. It follows the boot directory of the sysroot, which\n"
        "# changes in one step with the deployments, and is not rewritten by updates.\n"
        f"{_MARK}{format.value}\n"
        f"{_COUNTING if is_counting else '# not counting'}\n"
        f"search --no-floppy --set=root --fs-uuid {boot_uuid}\n"
        f"{_count() if is_counting else ''}"
        f"{body}"
        "set default=0\n"
        "set fallback=1\n"
        f"set timeout={timeout}\n"
    ).encode()


def format_of(config: bytes) -> MenuFormat | None:
    """Which format an installed grub.cfg of ours reads; None if it is not ours."""
    for line in config.decode(errors="replace").splitlines():
        if line.startswith(_MARK):
            value = line.removeprefix(_MARK)
            return next((format for format in MenuFormat if format.value == value), None)
    return None


def is_counting(config: bytes) -> bool:
    """Whether an installed grub.cfg counts boots."""
    return _COUNTING.encode() in config.splitlines()


def _count() -> str:
    steps = [
        f'  {"if" if left == 1 else "elif"} [ "$bootc_left" = {left} ]; then set bootc_left={left - 1}'
        for left in range(1, grub_block.MOST + 1)
    ]
    return _COUNT.format(countdown="\n".join(steps), arguments=" ".join(counting.ARGUMENTS))
