"""Install: an image becomes the first deployment of a new sysroot, with a bootloader that starts it."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import PurePosixPath

from attrs import frozen

from bootc import kargs
from bootc.deployment import Deployment, KernelArguments
from bootc.durable import DirectoryVolume
from bootc.errors import DeploymentError
from bootc.events import Phase, PhaseStarted
from bootc.fetcher import Source
from bootc.image import Image, ImageReference, ImportedImage, canonical_json
from bootc.steps import Steps
from bootc.storage import DeployRequest, MenuFormat, Tree
from bootc.transaction import Transaction

ALEPH = PurePosixPath(".bootc-aleph.json")
_VAR_HOME = "/var/roothome"


@frozen
class InstallRequest:
    """What to install as what."""

    target: ImageReference
    """the reference that upgrades will follow"""
    root_arguments: tuple[str, ...]
    """how the kernel finds the root filesystem: `root=…`, `rw`, …"""
    configured_arguments: tuple[str, ...] = ()
    deleted_arguments: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    """from the command line; they come last"""
    boot_spec: str | None = None
    """fstab's name for a separate /boot, `UUID=…`"""
    root_ssh_keys: bytes | None = None
    """content of root's authorized_keys"""
    stateroot: str = "default"


def install(transaction: Transaction, source: Source, request: InstallRequest) -> Deployment:
    """Put the image of `source` on the transaction's (empty) sysroot. A repeated run goes on where one was cut."""
    steps, deployer = transaction.steps, transaction.steps.backend.deployer
    with transaction.lock():
        steps.context.report(PhaseStarted(Phase.PREPARE))
        deployer.initialize(request.stateroot, MenuFormat.BLS)
        if not _is_deployed(steps, source, request):
            steps.deploy(source, lambda image: _request(steps, image, request))
        with steps.shielded():
            deployer.finalize()
            deployment = deployer.deployments()[0]
            _finish(steps, deployment, request)
            steps.publish()
        steps.trust.accept(source.image, request.target)
        steps.references.record(source.image)
        _write_aleph(transaction.machine.sysroot, source.image, request)
    return deployment


def _is_deployed(steps: Steps, source: Source, request: InstallRequest) -> bool:
    """Whether an earlier run came as far as a deployment, which only has to be finished."""
    image = steps.backend.store.find(source.image)
    first = next(iter(steps.backend.deployer.deployments()), None)
    if image is None or first is None or first.image is None:
        return False
    wanted = _request(steps, image, request)
    found = (first.image.digest, first.stateroot, first.reference, first.arguments)
    return found == (image.digest, wanted.stateroot, wanted.reference, wanted.arguments)


def _finish(steps: Steps, deployment: Deployment, request: InstallRequest) -> None:
    """What the first deployment gets beyond the image's own files, and the bootloader from its files."""
    if deployment.image is None:
        raise DeploymentError("the new deployment does not know its image")
    with steps.backend.store.open_tree(deployment.image) as tree:
        etc = steps.context.machine.sysroot.at(steps.backend.deployer.etc(deployment.id))
        for directory in (PurePosixPath(), PurePosixPath("tmpfiles.d")):
            etc.sweep(directory)
        if request.boot_spec:
            etc.replace(PurePosixPath("fstab"), f"{request.boot_spec} /boot auto ro 0 0\n".encode())
        if request.root_ssh_keys is not None:
            etc.make_directories(PurePosixPath("tmpfiles.d"))
            line = _ssh_line(_root_home(tree), request.root_ssh_keys)
            etc.replace(PurePosixPath("tmpfiles.d/bootc-root-ssh.conf"), line.encode(), 0o600)
        steps.bootloader.install(tree)


def _ssh_line(home: str, keys: bytes) -> str:
    return f"f~ {home}/.ssh/authorized_keys 600 root root - {base64.b64encode(keys).decode()}\n"


def _root_home(tree: Tree) -> str:
    """Root's home as the image has it; images link /root into /var."""
    for line in (tree.read_optional(PurePosixPath("etc/passwd")) or b"").decode(errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) >= 6 and fields[0] == "root":
            return _VAR_HOME if fields[5] == "/root" else fields[5]
    return _VAR_HOME


def _request(steps: Steps, image: ImportedImage, request: InstallRequest) -> DeployRequest:
    with steps.backend.store.open_tree(image) as tree:
        steps.bootloader.check(tree)
        steps.backend.deployer.initialize(request.stateroot, steps.bootloader.menu_format)
        shipped = kargs.read(tree, steps.platform)
    arguments = KernelArguments().with_added((*request.root_arguments, *request.configured_arguments, *shipped))
    arguments = arguments.without(request.deleted_arguments).with_added(_flattened(request.arguments))
    return DeployRequest(request.stateroot, request.target, arguments)


def _flattened(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(item for text in texts for item in KernelArguments.parse(text).items)


def _write_aleph(sysroot: DirectoryVolume, image: Image, request: InstallRequest) -> None:
    """A record of what this machine was born from, in the form that upstream's tools read."""
    document = {
        "image": str(image.reference),
        "digest": str(image.digest),
        "target-image": request.target.name,
        "labels": dict(image.labels),
        "version": image.version,
        "timestamp": image.created,
        "kernel": os.uname().release,
        "selinux": "disabled",
    }
    sysroot.sweep(ALEPH.parent)
    sysroot.replace(ALEPH, canonical_json({key: value for key, value in document.items() if value}).encode())
