"""The default storage backend: images and deployments in an ostree repository, by libostree."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from bootc.durable import DirectoryVolume
from bootc.hookspec import BackendPlugin, Capability, Context, hookimpl
from bootc.storage import Backend
from bootc_ostree.options import OstreeOptions

_TYPELIB = "OSTree-1.0.typelib"
_LIBRARIES = (
    f"/usr/lib/{sysconfig.get_config_var('MULTIARCH') or ''}",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib64",
    "/usr/local/lib",
)


@hookimpl
def bootc_storage_backends() -> Sequence[BackendPlugin[Any]]:
    """Offer the ostree backend."""
    return (
        BackendPlugin(
            name="ostree",
            summary="images and deployments in an ostree repository",
            options=OstreeOptions,
            open=_open,
            capabilities=frozenset({Capability.PIN, Capability.SPARE}),
            unavailable=_unavailable,
            probe=_probe,
            state=PurePosixPath("ostree/bootc"),
            writes="opaque",
            bootloaders=("grub", "systemd-boot", "none"),
        ),
    )


def _open(context: Context, options: OstreeOptions) -> Backend:
    from bootc_ostree.deployer import OstreeDeployer
    from bootc_ostree.store import OstreeStore

    return Backend(OstreeStore(context, options), OstreeDeployer(context, options))


def _probe(sysroot: DirectoryVolume) -> bool:
    return sysroot.is_directory(PurePosixPath("ostree/repo"))


def _unavailable() -> str | None:
    if find_spec("gi") is None:
        return "Python module gi is missing (python3-gi, PyGObject)"
    if not any((directory / _TYPELIB).exists() for directory in _typelib_directories()):
        return f"{_TYPELIB} is missing (gir1.2-ostree-1.0, ostree-libs with introspection)"
    return None


def _typelib_directories() -> list[Path]:
    """Where girepository looks: its search path variable, then the library directories of the distributions."""
    named = [Path(item) for item in os.environ.get("GI_TYPELIB_PATH", "").split(":") if item]
    return named + [Path(library, "girepository-1.0") for library in _LIBRARIES]
