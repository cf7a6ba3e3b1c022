"""Looking for deployments that are incomplete."""

from __future__ import annotations

from collections.abc import Iterator

from bootc.machine import Machine
from bootc.storage import Finding
from bootc_ostree import links, metadata, origin
from bootc_ostree.glib import GLib, OSTree
from bootc_ostree.records import describe, installed_boot_files
from bootc_ostree.sysroot import directory, file_size


def check(machine: Machine, sysroot: OSTree.Sysroot) -> Iterator[Finding]:
    """What each deployment needs to boot, and to be upgraded: its tree, kernel, commit, origin and boot link."""
    repo = sysroot.repo()
    for deployment in sysroot.get_deployments():
        name = f"{deployment.get_csum()}.{deployment.get_deployserial()}"
        root = directory(machine, deployment)
        if not (root / "usr").is_dir() or not (deployment.is_staged() or (root / "etc").is_dir()):
            yield Finding(name, "the directory of the deployment is not whole", is_fatal=True)
        entry = describe(machine, repo, deployment).entry
        installed = () if deployment.is_staged() else installed_boot_files(deployment)
        for path in dict.fromkeys((*installed, entry.kernel, *entry.initramfs)):
            if not file_size(machine, path):
                yield Finding(name, f"{path} is missing or empty", is_fatal=True)
        if not links.exists(machine.sysroot, deployment):
            yield Finding(name, f"{links.path_of(deployment)} is missing; cleaning up makes it", is_fatal=False)
        yield from _check_source(repo, deployment, name)


def _check_source(repo: OSTree.Repo, deployment: OSTree.Deployment, name: str) -> Iterator[Finding]:
    keyfile = deployment.get_origin()
    try:
        is_partial = bool(repo.load_commit(deployment.get_csum())[2] & OSTree.RepoCommitState.PARTIAL)
    except GLib.Error as error:
        yield Finding(name, f"its commit cannot be read: {error.message}", is_fatal=True)
        return
    if is_partial:
        yield Finding(name, "its commit is incomplete in the repository", is_fatal=True)
    if metadata.image_of(repo, deployment.get_csum()) and not origin.reference(keyfile):
        yield Finding(name, "its origin names no image: it cannot be upgraded", is_fatal=False)
