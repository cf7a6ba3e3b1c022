"""The /var of a stateroot: filled from the image once, whatever the version of libostree, and left alone ever after."""

from __future__ import annotations

import secrets
import shutil
from pathlib import PurePosixPath

from bootc.durable import DirectoryVolume
from bootc_ostree import merge
from bootc_ostree.dirtree import EMPTY
from bootc_ostree.glib import OSTree, check_out
from bootc_ostree.objects import ObjectTrees, root_of

_DEPLOY = PurePosixPath("ostree/deploy")
_TEMPORARY = ".bootc-var-"
_INITIAL_DIRECTORIES = frozenset({"lib", "log", "tmp"})
_INITIAL_LINKS = {"lock": "../run/lock", "run": "../run"}
_LABELLED = ".ostree-selabeled"
_UPDATED = ".updated"


def fill(sysroot: DirectoryVolume, repo: OSTree.Repo, commit: str, stateroot: str) -> None:
    """Copy the image's /var if the stateroot's is as it was made; owners, modes and attributes as in the image.

    The copy takes its place in one step. libostree does the same itself since 2024.3.
    """
    var = _DEPLOY / stateroot / "var"
    if not _is_untouched(sysroot, var) or not _brings_something(repo, commit):
        return
    copy = _DEPLOY / stateroot / f"{_TEMPORARY}{secrets.token_hex(6)}"
    options = OSTree.RepoCheckoutAtOptions()
    options.force_copy, options.subpath = True, "/var"
    check_out(repo, options, commit, sysroot.path(copy))
    _add_initial(sysroot, var, copy)
    sysroot.sync()
    sysroot.exchange(var, copy)
    sysroot.remove(copy)


def clean(sysroot: DirectoryVolume) -> None:
    """Remove copies that were never finished."""
    for stateroot in sysroot.names(_DEPLOY):
        for name in sysroot.names(_DEPLOY / stateroot):
            if name.startswith(_TEMPORARY):
                sysroot.remove(_DEPLOY / stateroot / name)


def expect_update(sysroot: DirectoryVolume, stateroot: str, deployment: PurePosixPath) -> None:
    """Let systemd's `ConditionNeedsUpdate=` hold at the next boot, for /var and for the deployment's /etc."""
    for directory in (_DEPLOY / stateroot / "var", deployment / "etc"):
        sysroot.remove(directory / _UPDATED)


def _is_untouched(sysroot: DirectoryVolume, var: PurePosixPath) -> bool:
    """Whether there is nothing but what libostree makes with a stateroot."""

    def is_initial(name: str) -> bool:
        path = var / name
        if name in _INITIAL_DIRECTORIES:
            return sysroot.is_directory(path) and not sysroot.names(path)
        return name == _LABELLED or sysroot.read_link(path) == _INITIAL_LINKS.get(name, name)

    return sysroot.is_directory(var) and all(is_initial(name) for name in sysroot.names(var))


def _brings_something(repo: OSTree.Repo, commit: str) -> bool:
    trees = ObjectTrees(repo)
    var = merge.descend(trees, root_of(repo, commit), "var")
    return var is not None and trees.load(var.contents) != EMPTY


def _add_initial(sysroot: DirectoryVolume, var: PurePosixPath, copy: PurePosixPath) -> None:
    """What a stateroot starts with and the image does not bring."""
    present = sysroot.names(copy)
    for name in sysroot.names(var):
        if name in present:
            continue
        if name in _INITIAL_DIRECTORIES:
            sysroot.make_directories(copy / name)
            shutil.copystat(sysroot.path(var / name), sysroot.path(copy / name))
        elif name in _INITIAL_LINKS:
            sysroot.link(_INITIAL_LINKS[name], copy / name)
        else:
            sysroot.replace(copy / name, b"")
    sysroot.remove(copy / _UPDATED)
