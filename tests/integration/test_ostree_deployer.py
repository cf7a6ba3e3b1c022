"""Deployments on a sysroot that is not booted, by real libostree, seen by ostree's own tool."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from attrs import evolve
from bootc_ostree import boot_files, bootc_storage_backends, deployer
from bootc_ostree.glib import GLib, OSTree, file
from bootc_ostree.options import OstreeOptions
from bootc_ostree.tree import checkout_etc

from bootc.deployment import BootEntry, BootMenu, Deployment, DeploymentId, KernelArguments
from bootc.durable import DirectoryVolume
from bootc.errors import DeploymentError, LockedError, StoreError
from bootc.hookspec import Capability
from bootc.image import ImageReference, ImportedImage
from bootc.storage import Backend, Deployer, DeployRequest, MenuFormat, Pinning
from tests.ostree_images import (
    KERNEL_VERSION,
    NAME,
    Streams,
    Tar,
    base_layer,
    make_context,
    make_image,
    mutable_afterwards,
)

pytestmark = pytest.mark.root

REFERENCE = ImageReference.of(NAME)
Deploy = Callable[..., Deployment]


@pytest.fixture
def sysroot(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "sysroot"
    root.mkdir()
    with mutable_afterwards(root):
        yield root


def open_backend(sysroot: Path) -> Backend:
    (plugin,) = bootc_storage_backends()
    backend = plugin.open(make_context(sysroot), OstreeOptions())
    assert isinstance(backend, Backend)
    return backend


@pytest.fixture
def backend(sysroot: Path) -> Backend:
    opened = open_backend(sysroot)
    opened.deployer.initialize("default", MenuFormat.BLS)
    return opened


def import_version(backend: Backend, version: str, extra: Tar | None = None) -> ImportedImage:
    layers = [base_layer(version).data, *([extra.data] if extra else [])]
    return backend.store.import_image(make_image(layers), Streams(layers))


@pytest.fixture
def deploy(backend: Backend) -> Deploy:
    """Import a version and make it the default."""

    def deploy(version: str, *arguments: str, stateroot: str = "default", **fields: Any) -> Deployment:
        image = import_version(backend, version)
        present = [d for d in backend.deployer.deployments() if d.stateroot == stateroot]
        merge = present[0].id if present else None
        request = DeployRequest(stateroot, REFERENCE, KernelArguments(arguments), merge)
        backend.deployer.stage(image, evolve(request, **fields))
        backend.deployer.finalize()
        backend.deployer.clean()
        return backend.deployer.deployments()[0]

    return deploy


def status(sysroot: Path) -> list[str]:
    """Deployments as `ostree admin status` lists them."""
    argv = ["ostree", "admin", f"--sysroot={sysroot}", "status"]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split()[1] for line in lines if line.startswith("  default ")]


def entries(sysroot: Path) -> dict[str, dict[str, str]]:
    """The boot entries by file name, each as key and value."""
    directory = sysroot / "boot/loader/entries"
    return {
        path.name: dict(line.split(maxsplit=1) for line in path.read_text().splitlines())
        for path in sorted(directory.iterdir())
    }


def ids(deployer: Deployer) -> list[DeploymentId]:
    return [deployment.id for deployment in deployer.deployments()]


# ---------------------------------------------------------------- the record, initialize


def test_the_plugin_says_what_it_can_do(sysroot: Path) -> None:
    (plugin,) = bootc_storage_backends()
    assert (plugin.name, plugin.state, plugin.writes) == ("ostree", PurePosixPath("ostree/bootc"), "opaque")
    assert plugin.capabilities == {Capability.PIN, Capability.SPARE}
    assert plugin.unavailable() is None
    assert not plugin.probe(DirectoryVolume(sysroot))
    backend = open_backend(sysroot)
    assert isinstance(backend.deployer, Pinning)
    backend.deployer.initialize("default", MenuFormat.BLS)
    assert plugin.probe(DirectoryVolume(sysroot))


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes | str | None]]:
    """Every path with its mode, time and content."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, content)
    return found


@pytest.mark.parametrize("menu_format", MenuFormat)
def test_initializing_again_changes_nothing(sysroot: Path, menu_format: MenuFormat) -> None:
    deployer = open_backend(sysroot).deployer
    deployer.initialize("default", menu_format)
    before = snapshot(sysroot)
    deployer.initialize("default", menu_format)
    assert snapshot(sysroot) == before
    assert deployer.deployments() == ()
    assert stat.S_IMODE((sysroot / "ostree/deploy/default/var").stat().st_mode) == 0o755


@pytest.mark.parametrize(("menu_format", "name"), [(MenuFormat.BLS, "none"), (MenuFormat.SYSLINUX, "syslinux")])
def test_the_repository_is_configured_as_upstream_does(sysroot: Path, menu_format: MenuFormat, name: str) -> None:
    open_backend(sysroot).deployer.initialize("default", menu_format)
    config = GLib.KeyFile()
    config.load_from_file(str(sysroot / "ostree/repo/config"), GLib.KeyFileFlags.NONE)
    values = {key: config.get_string("sysroot", key) for key in config.get_keys("sysroot")[0]}
    assert values == {"bootloader": name, "bootprefix": "true", "readonly": "true"}
    assert config.get_string("core", "mode") == "bare"


def test_a_stateroot_can_be_added(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    deploy("1")
    backend.deployer.initialize("other", MenuFormat.BLS)
    deploy("2", stateroot="other")
    found = backend.deployer.deployments()
    assert [deployment.stateroot for deployment in found] == ["other", "default"]
    assert (sysroot / "ostree/deploy/other/var/lib/data/file").read_text() == "initial\n"


# ---------------------------------------------------------------- the first deployment


def test_a_staged_deployment_is_described_in_full_before_it_is_made(sysroot: Path, backend: Backend) -> None:
    image = import_version(backend, "1")
    request = DeployRequest("default", REFERENCE, KernelArguments(("root=LABEL=root", "rw")))
    staged = backend.deployer.stage(image, request)

    assert backend.deployer.deployments() == (staged,)
    assert staged.image == image
    tree = f"ostree/deploy/default/deploy/{image.key}.0"
    link = f"ostree/boot-0/default/{image.key}/0"
    modules = PurePosixPath(tree, "usr/lib/modules", KERNEL_VERSION)
    assert staged == Deployment(
        id=staged.id,
        stateroot="default",
        image=image,
        reference=REFERENCE,
        arguments=KernelArguments(("root=LABEL=root", "rw")),
        boot_digest=staged.boot_digest,
        entry=BootEntry(
            deployment=staged.id,
            title=f"Test System 1 ({image.digest.short})",
            version="2026-01-02T03:04:05Z",
            kernel=modules / "vmlinuz",
            initramfs=(modules / "initramfs.img",),
            options=KernelArguments(("root=LABEL=root", "rw", f"ostree=/{link}")),
        ),
        is_staged=True,
        details={
            "store": "ostreeContainer",
            "ostree": {"stateroot": "default", "checksum": image.key, "deploySerial": 0},
        },
    )
    assert (sysroot / link).resolve() == (sysroot / tree).resolve()
    assert status(sysroot) == []
    assert not BootMenu.of(backend.deployer.deployments(), backend.deployer.menu_directory).entries


def test_finalizing_makes_it_the_default(sysroot: Path, backend: Backend) -> None:
    image = import_version(backend, "1")
    staged = backend.deployer.stage(image, DeployRequest("default", REFERENCE, KernelArguments(("quiet",))))
    backend.deployer.finalize()
    (deployed,) = backend.deployer.deployments()
    digest = staged.boot_digest
    assert digest is not None
    boot = PurePosixPath("boot/ostree", f"default-{digest.hex}")
    entry = evolve(
        staged.entry,
        kernel=boot / f"vmlinuz-{KERNEL_VERSION}",
        initramfs=(boot / f"initramfs-{KERNEL_VERSION}.img",),
    )
    assert deployed == evolve(staged, is_staged=False, entry=entry)
    assert open_backend(sysroot).deployer.deployments() == (deployed,)
    assert status(sysroot) == [f"{image.key}.0"]
    assert (sysroot / entry.kernel).read_bytes() == b"kernel 1"
    origin = sysroot / f"ostree/deploy/default/deploy/{image.key}.0.origin"
    assert origin.read_text() == f"[origin]\ncontainer-image-reference=ostree-unverified-registry:{NAME}\n"
    assert list(backend.deployer.check()) == []


@pytest.mark.parametrize("damage", [b"ker", b"kernel 2"], ids=["truncated", "altered"])
def test_a_damaged_kernel_in_boot_is_not_what_a_new_deployment_starts(
    sysroot: Path, backend: Backend, deploy: Deploy, damage: bytes
) -> None:
    kernel = sysroot / deploy("1").entry.kernel
    kernel.unlink()
    kernel.write_bytes(damage)
    leftover = kernel.parent / ".bootc-tmp-vmlinuz"
    leftover.write_bytes(b"ker")
    image = import_version(backend, "1", Tar().add("usr/more"))
    backend.deployer.stage(image, DeployRequest("default", REFERENCE, KernelArguments()))
    backend.deployer.finalize()
    assert sysroot / backend.deployer.deployments()[0].entry.kernel == kernel
    assert kernel.read_bytes() == b"kernel 1"
    assert not leftover.exists()


def test_boot_files_are_found_before_libostree_has_computed_their_checksum(sysroot: Path, deploy: Deploy) -> None:
    deployed = deploy("1")
    (initramfs,) = (sysroot / path for path in deployed.entry.initramfs)
    initramfs.unlink()
    initramfs.write_bytes(b"initramfs 2")
    (kernel,) = sysroot.glob("ostree/deploy/default/deploy/*.0/usr/lib/modules/*/vmlinuz")
    boot_files.mend(DirectoryVolume(sysroot / "boot", "boot"), [kernel, kernel.parent / "initramfs.img"], None)
    assert initramfs.read_bytes() == b"initramfs 1"


def test_boot_entries_do_not_depend_on_the_version_of_libostree(sysroot: Path, deploy: Deploy) -> None:
    deploy("1", "quiet")
    deploy("2", "quiet")
    found = entries(sysroot)
    assert list(found) == ["ostree-1.conf", "ostree-2.conf"]
    for entry in found.values():
        for key, name in (("linux", f"vmlinuz-{KERNEL_VERSION}"), ("initrd", f"initramfs-{KERNEL_VERSION}.img")):
            assert entry[key].startswith("/boot/ostree/default-")
            assert entry[key].endswith(name)
            assert (sysroot / entry[key].lstrip("/")).is_file()
    assert found["ostree-2.conf"]["options"].startswith("quiet ostree=/ostree/boot.")


def test_a_menu_in_syslinux_form_is_kept_for_grub(sysroot: Path) -> None:
    backend = open_backend(sysroot)
    backend.deployer.initialize("default", MenuFormat.SYSLINUX)
    for version in ("1", "2", "3"):
        present = backend.deployer.deployments()
        request = DeployRequest("default", REFERENCE, KernelArguments((version,)), present[0].id if present else None)
        backend.deployer.stage(import_version(backend, version), request)
        backend.deployer.finalize()
        backend.deployer.clean()
    assert os.readlink(sysroot / "boot/syslinux/syslinux.cfg") == "../loader/syslinux.cfg"
    text = (sysroot / "boot/syslinux/syslinux.cfg").read_text()
    lines = [line.strip() for line in text.splitlines() if line]
    kernels = [line.split()[1] for line in lines if line.startswith("KERNEL ")]
    appended = [line.split()[1] for line in lines if line.startswith("APPEND ")]
    assert appended == ["3", "2"]
    assert all((sysroot / path.lstrip("/")).is_file() and path.startswith("/boot/ostree/") for path in kernels)
    labels = [line for line in lines if line.startswith("LABEL ")]
    assert [line for line in lines if line][:2] == ["TIMEOUT 30", labels[0].replace("LABEL", "DEFAULT")]
    assert len(labels) == 2


# ---------------------------------------------------------------- /etc and /var


def test_local_changes_of_etc_are_merged(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    first = deploy("1")
    etc = backend.deployer.etc(first.id)
    (etc / "default").write_text("edited\n")
    (etc / "local").write_text("mine\n")
    (etc / ".updated").touch()
    second = deploy("2")
    merged = backend.deployer.etc(second.id)
    assert ((merged / "default").read_text(), (merged / "local").read_text()) == ("edited\n", "mine\n")
    assert not (merged / ".updated").exists()
    third = deploy("3", merge_from=None)
    fresh = backend.deployer.etc(third.id)
    assert (fresh / "default").read_text() == "shipped\n"
    assert not (fresh / "local").exists()


def test_a_merge_that_libostree_could_not_do_is_foreseen(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    first = deploy("1")
    (backend.deployer.etc(first.id) / "thing").write_text("a file here")
    image = import_version(backend, "2", Tar().directory("usr/etc/thing").add("usr/etc/thing/inside"))
    (finding,) = [found for found in backend.deployer.preview(image, first.id) if found.is_fatal]
    assert finding.subject == "/etc/thing"
    assert "libostree cannot merge" in finding.message
    request = DeployRequest("default", REFERENCE, KernelArguments(), first.id)
    with pytest.raises(StoreError):
        backend.deployer.stage(image, request)
    (backend.deployer.etc(first.id) / "thing").unlink()
    assert not [found for found in backend.deployer.preview(image, first.id) if found.is_fatal]
    backend.deployer.stage(image, request)
    assert not [name for name in os.listdir(sysroot / "ostree/repo/tmp") if name.startswith("bootc-")]


def test_the_merge_is_foreseen_without_a_checkout_where_etc_is_the_same(
    backend: Backend, deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkouts: list[str] = []

    def checked_out(repo: OSTree.Repo, commit: str) -> AbstractContextManager[Path]:
        checkouts.append(commit)
        return checkout_etc(repo, commit)

    monkeypatch.setattr(deployer, "checkout_etc", checked_out)
    first = deploy("1")
    etc = backend.deployer.etc(first.id)
    os.mkfifo(etc / "pipe")
    same = import_version(backend, "2", Tar().add("usr/bin/new", data=b"a program"))
    assert [found.subject for found in backend.deployer.preview(same, first.id)] == ["/etc/pipe"]
    assert checkouts == []
    other = import_version(backend, "3", Tar().add("usr/etc/new", data=b"a file"))
    assert [found.subject for found in backend.deployer.preview(other, first.id)] == ["/etc/pipe"]
    assert checkouts == [other.key]


def test_var_is_filled_once_and_then_left_alone(sysroot: Path, deploy: Deploy) -> None:
    deploy("1")
    var = sysroot / "ostree/deploy/default/var"
    data = var / "lib/data"
    assert (data / "file").read_text() == "initial\n"
    states = [(path.stat().st_mode & 0o7777, path.stat().st_uid, path.stat().st_gid) for path in (data, data / "file")]
    assert states == [(0o750, 7, 8), (0o640, 7, 8)]
    assert (data / "file").stat().st_nlink == 1, "the object in the repository must not change with it"
    (data / "file").write_text("changed\n")
    (var / ".updated").touch()
    deploy("2")
    assert (data / "file").read_text() == "changed\n"
    assert not (var / ".updated").exists()
    (data / "file").unlink()
    deploy("3")
    assert not (data / "file").exists()
    assert [path.name for path in (sysroot / "ostree/deploy/default").iterdir() if path.name.startswith(".")] == []


def test_var_keeps_what_a_stateroot_starts_with(sysroot: Path, deploy: Deploy) -> None:
    before = sysroot / "ostree/deploy/default/var"
    initial = {path.name: os.readlink(path) if path.is_symlink() else None for path in before.iterdir()}
    deploy("1")
    found = {path.name: os.readlink(path) if path.is_symlink() else None for path in before.iterdir()}
    assert initial.items() <= found.items()
    assert "lib" in found


# ---------------------------------------------------------------- order, retention


def test_the_old_default_becomes_the_rollback_and_the_one_before_goes(backend: Backend, deploy: Deploy) -> None:
    first, second = deploy("1"), deploy("2")
    image = import_version(backend, "3")
    backend.deployer.stage(image, DeployRequest("default", REFERENCE, KernelArguments(), second.id))
    staged, *present = backend.deployer.deployments()
    assert [(d.id, d.is_expendable) for d in present] == [(second.id, False), (first.id, True)]
    narrow = BootMenu.of(backend.deployer.deployments(), None, narrow=True)
    assert [entry.deployment for entry in narrow.entries] == [second.id]
    backend.deployer.finalize()
    assert ids(backend.deployer) == [staged.id, second.id]


def test_pinned_deployments_and_other_stateroots_stay(backend: Backend, deploy: Deploy) -> None:
    backend.deployer.initialize("other", MenuFormat.BLS)
    foreign = deploy("0", stateroot="other")
    first, second = deploy("1"), deploy("2")
    assert isinstance(backend.deployer, Pinning)
    backend.deployer.set_pinned(first.id, True)
    assert [d.is_pinned for d in backend.deployer.deployments()] == [False, True, False]
    third = deploy("3")
    assert ids(backend.deployer) == [third.id, second.id, first.id, foreign.id]
    backend.deployer.set_pinned(first.id, False)
    fourth = deploy("4")
    assert ids(backend.deployer) == [fourth.id, third.id, foreign.id]


def test_the_order_can_be_turned_round_and_back(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    first, second = deploy("1"), deploy("2")
    backend.deployer.arrange([first.id, second.id])
    assert [evolve(d, entry=second.entry) for d in backend.deployer.deployments()] == [
        evolve(d, entry=second.entry) for d in (first, second)
    ]
    assert status(sysroot) == [f"{d.image.key}.0" for d in (first, second) if d.image]
    assert list(entries(sysroot)) == ["ostree-1.conf", "ostree-2.conf"]
    backend.deployer.arrange([second.id, first.id])
    backend.deployer.clean()
    assert ids(backend.deployer) == [second.id, first.id]


def test_an_order_must_name_each_deployment_once(backend: Backend, deploy: Deploy) -> None:
    first, second = deploy("1"), deploy("2")
    for order in ([first.id], [first.id, first.id], [first.id, second.id, DeploymentId("x")]):
        with pytest.raises(DeploymentError, match="does not name each deployment once"):
            backend.deployer.arrange(order)


def test_the_entry_of_a_deployment_does_not_change_with_its_place(backend: Backend, deploy: Deploy) -> None:
    first = deploy("1")
    second = deploy("2")
    assert {d.id: d.entry for d in backend.deployer.deployments()} == {first.id: first.entry, second.id: second.entry}
    backend.deployer.arrange([first.id, second.id])
    assert {d.id: d.entry for d in backend.deployer.deployments()} == {first.id: first.entry, second.id: second.entry}


def test_an_id_is_never_used_again(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    seen = [deploy(version).id for version in ("1", "2", "3", "1")]
    assert seen[0].partition("-")[0] == seen[3].partition("-")[0], "libostree does use serials again"
    assert len(set(seen)) == 4
    assert ids(backend.deployer) == ids(open_backend(sysroot).deployer)


# ---------------------------------------------------------------- locking, dropping, cleaning


def test_a_locked_deployment_waits(backend: Backend) -> None:
    image = import_version(backend, "1")
    request = DeployRequest("default", REFERENCE, KernelArguments(), is_locked=True)
    assert backend.deployer.stage(image, request).is_locked
    backend.deployer.finalize()
    assert [d.is_staged for d in backend.deployer.deployments()] == [True]
    backend.deployer.set_locked(False)
    backend.deployer.finalize()
    assert [d.is_staged for d in backend.deployer.deployments()] == [False]


def test_only_a_staged_deployment_can_be_locked(backend: Backend, deploy: Deploy) -> None:
    deploy("1")
    with pytest.raises(DeploymentError, match="no staged deployment"):
        backend.deployer.set_locked(True)


def test_a_dropped_deployment_leaves_nothing(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    first = deploy("1")
    image = import_version(backend, "2")
    backend.deployer.stage(image, DeployRequest("default", REFERENCE, KernelArguments(), first.id))
    backend.deployer.unstage()
    backend.deployer.clean()
    assert ids(backend.deployer) == [first.id]
    assert first.image is not None
    assert [path.name for path in (sysroot / "ostree/boot-0/default").iterdir()] == [first.image.key]
    trees = sysroot / "ostree/deploy/default/deploy"
    assert sorted(path.name for path in trees.iterdir()) == [f"{first.image.key}.0", f"{first.image.key}.0.origin"]


def test_staging_again_replaces_what_was_staged(backend: Backend) -> None:
    request = DeployRequest("default", REFERENCE, KernelArguments())
    first = backend.deployer.stage(import_version(backend, "1"), request)
    assert backend.deployer.deployments() == (first,)
    staged = backend.deployer.stage(import_version(backend, "2"), request)
    assert backend.deployer.deployments() == (staged,)
    backend.deployer.finalize()
    backend.deployer.clean()
    assert ids(backend.deployer) == [staged.id]


def test_finalizing_without_a_staged_deployment_does_nothing(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    deploy("1")
    before = snapshot(sysroot)
    backend.deployer.finalize()
    assert snapshot(sysroot) == before


def test_links_stay_until_they_are_cleaned(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    first, second = deploy("1"), deploy("2")
    image = import_version(backend, "3")
    backend.deployer.stage(image, DeployRequest("default", REFERENCE, KernelArguments(), second.id))
    backend.deployer.finalize()
    assert first.image is not None
    assert (sysroot / f"ostree/boot-0/default/{first.image.key}/0/usr").is_dir(), "an old menu may still name it"
    backend.deployer.clean()
    links = sysroot / "ostree/boot-0/default"
    assert {path.name for path in links.iterdir()} == {d.image.key for d in backend.deployer.deployments() if d.image}


def test_collecting_keeps_what_is_deployed(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    deployed = [deploy(version) for version in ("1", "2", "3")][1:]
    backend.store.prune([])
    assert {d.id for d in backend.deployer.deployments()} == {d.id for d in deployed}
    assert all(d.image for d in backend.deployer.deployments())
    assert list(backend.store.check()) == []
    assert backend.store.missing(make_image([base_layer("1").data])) != ()


def test_collecting_does_not_rely_on_refs_that_libostree_writes_later(backend: Backend, deploy: Deploy) -> None:
    first, second = deploy("1"), deploy("2")
    image = import_version(backend, "3")
    backend.deployer.stage(image, DeployRequest("default", REFERENCE, KernelArguments(), second.id))
    backend.deployer.finalize()
    backend.store.prune([])
    assert [d.image is not None for d in backend.deployer.deployments()] == [True, True]
    assert first.id not in ids(backend.deployer)
    assert list(backend.store.check()) == []


def test_a_deployed_tree_is_its_own_directory(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    image = deploy("1").image
    assert image is not None
    with backend.store.open_tree(image) as tree, tree.directory() as directory:
        assert directory == sysroot / f"ostree/deploy/default/deploy/{image.key}.0"
        assert tree.read_optional(PurePosixPath("etc/default")) == b"shipped\n"


# ---------------------------------------------------------------- others


def test_another_writer_is_not_waited_for_and_readers_never_wait(
    sysroot: Path, backend: Backend, deploy: Deploy
) -> None:
    first, second = deploy("1"), deploy("2")
    other = OSTree.Sysroot.new(file(sysroot))
    other.load(None)
    assert other.try_lock()[1]
    try:
        with pytest.raises(LockedError, match="libostree's lock"):
            backend.deployer.arrange([first.id, second.id])
        with pytest.raises(LockedError):
            backend.store.prune([])
        assert ids(backend.deployer) == [second.id, first.id]
    finally:
        other.unlock()
    backend.deployer.arrange([first.id, second.id])


def test_what_ostree_itself_deployed_is_shown_and_kept(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    image = deploy("1").image
    assert image is not None
    argv = ["ostree", "admin", f"--sysroot={sysroot}", "deploy", "--os=default", "--karg=other", image.key]
    subprocess.run(argv, check=True, capture_output=True)
    foreign, ours = backend.deployer.deployments()
    assert (foreign.image, foreign.reference) == (image, None)
    assert "other" in foreign.arguments.items
    assert str(foreign.entry.options).rpartition("ostree=")[2].startswith("/ostree/boot."), "it has no link of ours yet"
    assert [(finding.subject, finding.is_fatal) for finding in backend.deployer.check()] == [
        (f"{image.key}.1", False)
    ] * 2
    backend.deployer.clean()
    assert "ostree=/ostree/boot-0/" in str(backend.deployer.deployments()[0].entry.options)
    assert backend.deployer.deployments()[1] == ours


def test_what_rpm_ostree_layered_is_incompatible(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    image = deploy("1").image
    assert image is not None
    origin = sysroot / f"ostree/deploy/default/deploy/{image.key}.0.origin"
    origin.write_text(f"{origin.read_text()}[packages]\nrequested=vim;\n")
    (found,) = backend.deployer.deployments()
    assert (found.is_incompatible, found.image, found.reference) == (True, None, None)


def test_a_plain_commit_is_a_deployment_without_an_image(sysroot: Path, backend: Backend, tmp_path: Path) -> None:
    image = import_version(backend, "1")
    repo = f"--repo={sysroot}/ostree/repo"
    subprocess.run(["ostree", repo, "commit", "--branch=plain", f"--tree=ref={image.key}"], check=True)
    deploy = ["ostree", "admin", f"--sysroot={sysroot}", "deploy", "--os=default", "plain"]
    subprocess.run(deploy, check=True, capture_output=True)
    (found,) = backend.deployer.deployments()
    assert (found.image, found.reference, found.is_incompatible) == (None, None, False)
    assert found.details["store"] is None
    assert found.entry.title.startswith("Test System 1 (")


def test_a_damaged_deployment_is_found(sysroot: Path, backend: Backend, deploy: Deploy) -> None:
    deployed = deploy("1")
    (sysroot / deployed.entry.kernel).write_bytes(b"")
    (sysroot / "ostree/boot-0/default").rename(sysroot / "ostree/boot-0/away")
    messages = {finding.message: finding.is_fatal for finding in backend.deployer.check()}
    assert any(is_fatal and "vmlinuz" in message for message, is_fatal in messages.items())
    assert any(not is_fatal and "boot-0" in message for message, is_fatal in messages.items())
    backend.deployer.clean()
    assert not any("boot-0" in finding.message for finding in backend.deployer.check())


def test_an_unknown_deployment_is_an_error(backend: Backend, deploy: Deploy) -> None:
    deploy("1")
    with pytest.raises(DeploymentError, match="no deployment nonsense"):
        backend.deployer.etc(DeploymentId("nonsense"))
