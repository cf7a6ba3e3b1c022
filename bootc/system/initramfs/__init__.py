"""What an image's initramfs does for backends that have no boot tool of their own: it mounts the root by a mount plan.

A backend writes the plan beside each deployment and names it on the kernel command line. `mount-root`, a POSIX shell
script in the initramfs, carries it out; `dracut/` and `initramfs-tools/` put it there. The version of all that stands
in the image, so that an image without it, or with too old a one, is refused when it is staged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import TypeAlias

from attrs import field, frozen

from bootc.errors import ImageError
from bootc.storage import Tree

PLAN_ARGUMENT = "bootc.plan"
"""`bootc.plan=PATH` on the kernel command line: the mount plan, below the physical root"""
IMAGE_ARGUMENT = "bootc.composefs"
"""`bootc.composefs=DIGEST`: the digest of the image that must be the root; with `?` before it, it is not measured"""
MARKER = PurePosixPath("usr/lib/bootc/initramfs/version")
"""in an image: which versions of plans its initramfs can carry out, up to this number"""
VERSION = 2
"""the newest version of plans"""
TRANSIENT_VERSION = 2
"""the first one with a transient /etc"""

_PROGRAMS = (PurePosixPath("usr/bin"), PurePosixPath("usr/sbin"))
_WORD = re.compile(r"[A-Za-z0-9_.,:+=@/-]+")
_DIGEST = re.compile(r"sha256-12:[0-9a-f]{64}|sha512-12:[0-9a-f]{128}")


@frozen
class ComposefsRoot:
    """A composefs image over a directory of objects."""

    image: PurePosixPath
    objects: PurePosixPath
    digest: str
    """fs-verity digest of the image: `sha256-12:` or `sha512-12:` (12: blocks of 4096 bytes) and hexadecimal digits"""
    is_verified: bool
    """whether the image is measured, and overlayfs demands of each object the digest that the image tells"""

    @property
    def argument(self) -> str:
        """The kernel argument that the script compares with the plan."""
        return f"{IMAGE_ARGUMENT}={'' if self.is_verified else '?'}{self.digest}"


Root: TypeAlias = PurePosixPath | ComposefsRoot
"""A directory, or an image"""


@frozen
class MountPlan:
    """The mounts that make a root. Sources are below the physical root, targets below the new one.

    As data: a line `bootc-mount-plan VERSION`, then one mount per line, words separated by spaces, in their order. In
    version 1, `root SOURCE` binds a directory, read-only, as the new root, and `bind SOURCE TARGET` a writable one into
    it. In version 2, `composefs IMAGE OBJECTS DIGEST verified|unverified` may stand in the place of `root`, and
    `etc-transient`, the last line, lays a directory in memory over `etc`, so that its changes are forgotten at reboot.
    The physical root is always at `sysroot`. A script that meets an unknown version or word refuses the plan.
    """

    root: Root
    binds: Mapping[PurePosixPath, PurePosixPath] = field(factory=dict)
    """target to source"""
    is_etc_transient: bool = False

    def render(self) -> bytes:
        """The plan as the script reads it. ValueError for a path or digest that is no plain word."""
        version = max(version_for(self.root), TRANSIENT_VERSION if self.is_etc_transient else 1)
        lines = [f"bootc-mount-plan {version}", _root_line(self.root)]
        lines += [f"bind {_word(source)} {_word(target)}" for target, source in self.binds.items()]
        lines += ["etc-transient"] if self.is_etc_transient else []
        return "".join(f"{line}\n" for line in lines).encode()


def version_for(root: Root) -> int:
    """The lowest version of plans that has such a root."""
    return 2 if isinstance(root, ComposefsRoot) else 1


def require_support(tree: Tree, image: str, version: int = VERSION, programs: Iterable[str] = ()) -> None:
    """Raise ImageError unless the image says that its initramfs can carry out plans of this version, and has these
    programs, which its initramfs takes along."""
    found = (tree.read_optional(MARKER) or b"").decode(errors="replace").strip()
    if found.isascii() and found.isdigit() and int(found) >= version:
        _require_programs(tree, image, programs)
        return
    problem = f"its initramfs supports plans of version {found}" if found else "its initramfs cannot mount the root"
    hint = f"install bootc's initramfs files in the image (/{MARKER} among them) and build its initramfs again"
    raise ImageError(image, f"{problem}; version {version} is needed", hint)


def _require_programs(tree: Tree, image: str, programs: Iterable[str]) -> None:
    for name in programs:
        if all(tree.read_optional(directory / name) is None for directory in _PROGRAMS):
            hint = "install it in the image, then build the initramfs again"
            raise ImageError(image, f"it has no program {name}, which its initramfs needs to mount the root", hint)


def _root_line(root: Root) -> str:
    if not isinstance(root, ComposefsRoot):
        return f"root {_word(root)}"
    if not _DIGEST.fullmatch(root.digest):
        raise ValueError(f"{root.digest!r} is no digest of a composefs image")
    word = "verified" if root.is_verified else "unverified"
    return f"composefs {_word(root.image)} {_word(root.objects)} {root.digest} {word}"


def _word(path: PurePosixPath) -> str:
    text = str(path)
    if path.is_absolute() or ".." in path.parts or not _WORD.fullmatch(text):
        raise ValueError(f"{text!r} cannot stand in a mount plan")
    return text
