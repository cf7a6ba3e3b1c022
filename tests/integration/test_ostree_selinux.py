"""Labels in the repository: from the policy that the image brings, on whatever host."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bootc_ostree.options import OstreeOptions
from bootc_ostree.store import OstreeStore

from bootc.image import ImportedImage
from tests.integration.ostree_sysroots import new_sysroot
from tests.ostree_images import Streams, Tar, base_layer, make_context, make_image

pytestmark = pytest.mark.root

CONTEXTS = """\
/.*             system_u:object_r:default_t:s0
/usr(/.*)?      system_u:object_r:usr_t:s0
/usr/bin/.*  -- system_u:object_r:bin_t:s0
/etc(/.*)?      system_u:object_r:etc_t:s0
/etc/passwd  -- system_u:object_r:passwd_t:s0
/tmp            <<none>>
"""


@pytest.fixture
def sysroot(tmp_path: Path) -> Iterator[Path]:
    with new_sysroot(tmp_path) as root:
        yield root


@pytest.fixture
def store(sysroot: Path) -> OstreeStore:
    return OstreeStore(make_context(sysroot), OstreeOptions())


def with_policy(contexts: str = CONTEXTS) -> Tar:
    tar = base_layer()
    for name in ("etc/selinux", "etc/selinux/test", "etc/selinux/test/contexts", "etc/selinux/test/contexts/files"):
        tar.directory(name)
    tar.add("etc/selinux/config", data=b"SELINUX=enforcing\nSELINUXTYPE=test\n")
    return tar.add("etc/selinux/test/contexts/files/file_contexts", data=contexts.encode())


def labels(sysroot: Path, commit: str) -> dict[str, str | None]:
    """Type in the label of each path of a commit, as ostree's own tool shows it."""
    argv = ["ostree", f"--repo={sysroot}/ostree/repo", "ls", "-R", "-X", commit]
    found: dict[str, str | None] = {}
    for line in subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines():
        path = line[line.index(" /") + 1 :].partition(" -> ")[0]
        _, is_labelled, rest = line.partition("object_r:")
        found[path] = rest.partition(":")[0] if is_labelled else None
    return found


def layer_commit(sysroot: Path, data: bytes) -> str:
    image = make_image([data])
    name = f"ostree/container/blob/sha256_3A_{image.layers[0].descriptor.digest.hex}"
    argv = ["ostree", f"--repo={sysroot}/ostree/repo", "rev-parse", name]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def do_import(store: OstreeStore, layers: list[bytes], name: str = "registry.example/os:v1") -> ImportedImage:
    return store.import_image(make_image(layers, name), Streams(layers))


def test_a_merged_image_and_its_layers_have_the_labels_of_its_policy(store: OstreeStore, sysroot: Path) -> None:
    upper = Tar().add("usr/bin/new", data=b"1", xattrs={"security.selinux": "from the build host"}).data
    lower = with_policy().data
    stored = do_import(store, [lower, upper])
    found = labels(sysroot, stored.key)
    expected = {
        "/": "default_t",
        "/usr": "usr_t",
        "/usr/bin/tool": "bin_t",
        "/usr/bin/alias": "bin_t",
        "/usr/bin/new": "bin_t",
        "/usr/etc": "etc_t",
        "/usr/etc/passwd": "passwd_t",
        "/usr/etc/os-release": "etc_t",
        "/bin": "default_t",
        "/tmp": None,
        "/var/lib/data/file": "default_t",
    }
    assert {path: found[path] for path in expected} == expected
    assert labels(sysroot, layer_commit(sysroot, upper))["/usr/bin/new"] == "bin_t"
    of_lower = labels(sysroot, layer_commit(sysroot, lower))
    assert of_lower == {path: label for path, label in found.items() if path != "/usr/bin/new"}
    assert list(store.check()) == []


def test_an_update_writes_new_layers_with_the_labels_of_the_image_before_it(store: OstreeStore, sysroot: Path) -> None:
    lower = with_policy().data
    do_import(store, [lower])
    before = layer_commit(sysroot, lower)
    upper = Tar().add("etc/new", data=b"1").data
    stored = do_import(store, [lower, upper])
    assert labels(sysroot, stored.key)["/usr/etc/new"] == "etc_t"
    assert labels(sysroot, layer_commit(sysroot, upper))["/usr/etc/new"] == "etc_t"
    assert layer_commit(sysroot, lower) == before


def test_a_layer_that_changes_the_policy_changes_all_labels(store: OstreeStore, sysroot: Path) -> None:
    lower = with_policy().data
    other = CONTEXTS.replace("usr_t", "other_t").encode()
    upper = Tar().add("etc/selinux/test/contexts/files/file_contexts", data=other).data
    stored = do_import(store, [lower, upper])
    found = labels(sysroot, stored.key)
    assert (found["/usr"], found["/usr/lib/os-release"], found["/usr/etc"]) == ("other_t", "other_t", "etc_t")


def test_without_a_policy_nothing_is_labelled(store: OstreeStore, sysroot: Path) -> None:
    stored = do_import(store, [base_layer().add("usr/x", xattrs={"security.selinux": "stray"}).data])
    assert set(labels(sysroot, stored.key).values()) == {None}
