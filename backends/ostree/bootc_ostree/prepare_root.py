"""What an image's initramfs will do with the root, as `ostree/prepare-root.conf` says (ostree-prepare-root(1))."""

from __future__ import annotations

import configparser
from pathlib import PurePosixPath

from bootc.errors import ImageError
from bootc.storage import Tree

_PATH = PurePosixPath("usr/lib/ostree/prepare-root.conf")
_TRUE = ("yes", "true", "1")
_COMPOSEFS = (*_TRUE, "maybe", "signed", "verity")


def has_writable_root(tree: Tree) -> bool:
    """Whether the root of a booted system can hold more than `usr`, `etc` and `var`: transient, or by composefs."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string((tree.read_optional(_PATH) or b"").decode())
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ImageError(str(_PATH), f"not a valid key file: {error}") from error
    transient = parser.get("root", "transient", fallback="no").strip().lower()
    composefs = parser.get("composefs", "enabled", fallback="no").strip().lower()
    return transient in _TRUE or composefs in _COMPOSEFS
