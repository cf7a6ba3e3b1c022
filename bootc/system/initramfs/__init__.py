"""What an image's initramfs does for backends that have no boot tool of their own: it mounts the root by a mount plan.

A backend writes the plan beside each deployment and names it on the kernel command line. `mount-root`, a POSIX shell
script in the initramfs, carries it out; `dracut/` and `initramfs-tools/` put it there. The version of all that stands
in the image, so that an image without it, or with too old a one, is refused when it is staged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from attrs import field, frozen

from bootc.errors import ImageError
from bootc.storage import Tree

PLAN_ARGUMENT = "bootc.plan"
"""`bootc.plan=PATH` on the kernel command line: the mount plan, below the physical root"""
MARKER = PurePosixPath("usr/lib/bootc/initramfs/version")
"""in an image: which versions of plans its initramfs can carry out, up to this number"""
VERSION = 1

_WORD = re.compile(r"[A-Za-z0-9_.,:+=@/-]+")


@frozen
class MountPlan:
    """The mounts that make a root. Sources are below the physical root, targets below the new one.

    As data: a line `bootc-mount-plan VERSION`, then one mount per line, words separated by spaces, in their order:
    `root SOURCE` binds a directory, read-only, as the new root; `bind SOURCE TARGET` binds a writable one into it. The
    physical root is always at `sysroot`. A script that meets an unknown version or word refuses the plan.
    """

    root: PurePosixPath
    binds: Mapping[PurePosixPath, PurePosixPath] = field(factory=dict)
    """target to source"""

    def render(self) -> bytes:
        """The plan as the script reads it. ValueError for a path that is no plain word."""
        lines = [f"root {_word(self.root)}"]
        lines += [f"bind {_word(source)} {_word(target)}" for target, source in self.binds.items()]
        return "".join(f"{line}\n" for line in (f"bootc-mount-plan {VERSION}", *lines)).encode()


def require_support(tree: Tree, image: str) -> None:
    """Raise ImageError unless the image says that its initramfs can carry out plans of this version."""
    found = (tree.read_optional(MARKER) or b"").decode(errors="replace").strip()
    if found.isascii() and found.isdigit() and int(found) >= VERSION:
        return
    problem = f"its initramfs supports plans of version {found}" if found else "its initramfs cannot mount the root"
    hint = f"install bootc's initramfs files in the image (/{MARKER} among them) and build its initramfs again"
    raise ImageError(image, f"{problem}; version {VERSION} is needed", hint)


def _word(path: PurePosixPath) -> str:
    text = str(path)
    if path.is_absolute() or ".." in path.parts or not _WORD.fullmatch(text):
        raise ValueError(f"{text!r} cannot stand in a mount plan")
    return text
