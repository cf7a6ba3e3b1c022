"""The same image by podman: its flattened tree must be ours.

Each layer here has entries for all its directories: podman resets those that a layer only implies (bootc.layers).
The root directory itself is left out of the comparison: for podman it has mode 0555, whatever the image says.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bootc_ostree.options import OstreeOptions
from bootc_ostree.store import OstreeStore

from bootc.image import Image
from bootc.testing.attributes import CAPABILITY
from tests.integration.ostree_sysroots import new_sysroot
from tests.ostree_images import (
    Normal,
    Streams,
    Tar,
    base_layer,
    digest_of,
    make_context,
    make_image,
    normal_form,
)

pytestmark = pytest.mark.root


def first_layer() -> Tar:
    tar = base_layer().directory("./").directory("usr/share").add("usr/share/old", data=b"o")
    tar.directory("opt").add("opt/gone").directory("usr/now-a-file").add("usr/now-a-file/in")
    return tar.add("usr/now-a-directory", data=b"f").symlink("usr/link-no-more", "bin")


def second_layer() -> Tar:
    tar = Tar().directory("./").directory("usr", mode=0o751).directory("usr/share").opaque("usr/share")
    tar.add("usr/share/new", data=b"n").whiteout("etc/default").whiteout("usr/bin/alias")
    tar.directory("etc", mode=0o711, uid=3).directory("usr/bin").add("usr/bin/tool", data=b"changed", mode=0o755)
    tar.add("usr/now-a-file", data=b"f").directory("usr/now-a-directory").add("usr/now-a-directory/in", data=b"i")
    tar.directory("usr/link-no-more").add("usr/link-no-more/in", data=b"i")
    tar.add(
        "usr/ä b\tc",
        data=b"odd name",
        xattrs={"user.z": "1", "user.a": "2", "security.capability": CAPABILITY.decode("latin-1")},
    )
    return tar.directory("opt").hardlink("opt/hard", "usr/share/new").directory("home", mode=0o2775, gid=100)


def third_layer() -> Tar:
    tar = Tar().directory("./").directory("usr", mode=0o751).directory("opt").opaque("opt").add("opt/other")
    tar.directory("var", mode=0o755).whiteout("var/lib").symlink("usr/share", "bin")
    return tar.directory("usr/bin", mode=0o700)


@pytest.fixture
def layers() -> list[bytes]:
    return [first_layer().data, second_layer().data, third_layer().data]


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[list[str]]:
    """podman with a store of its own, in which nothing stays mounted. Its runroot must have a short path."""
    with tempfile.TemporaryDirectory(prefix="podman-") as runroot:
        words = ["podman", f"--root={tmp_path / 'storage'}", f"--runroot={runroot}", "--cgroup-manager=cgroupfs"]
        try:
            yield words
        finally:
            subprocess.run([*words, "image", "unmount", "--all", "--force"], check=True, capture_output=True)
            overlay = tmp_path / "storage/overlay"
            if overlay.is_mount():
                subprocess.run(["umount", overlay], check=True)


def write_layout(directory: Path, image: Image, layers: list[bytes]) -> None:
    """The image as an OCI image layout."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)
    for data in (image.manifest, image.config, *layers):
        (blobs / digest_of(data).hex).write_bytes(data)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    media_type = "application/vnd.oci.image.manifest.v1+json"
    entry = {"mediaType": media_type, "digest": str(image.digest), "size": len(image.manifest)}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def flattened(podman: list[str], image: Image, layers: list[bytes], layout: Path) -> Normal:
    write_layout(layout, image, layers)
    pull = subprocess.run([*podman, "pull", "--quiet", f"oci:{layout}"], check=True, capture_output=True, text=True)
    mount = [*podman, "image", "mount", pull.stdout.split()[-1]]
    mounted = subprocess.run(mount, check=True, capture_output=True, text=True).stdout.strip()
    return normal_form(Path(mounted))


def test_the_merged_tree_is_the_one_that_podman_shows(tmp_path: Path, podman: list[str], layers: list[bytes]) -> None:
    image = make_image(layers)
    with new_sysroot(tmp_path) as root:
        store = OstreeStore(make_context(root), OstreeOptions())
        stored = store.import_image(image, Streams(layers))
        with store.open_tree(stored) as tree, tree.directory() as directory:
            ours = {path: state for path, state in normal_form(directory).items() if path != "."}
    theirs = flattened(podman, image, layers, tmp_path / "layout")
    assert {path: (state, theirs.get(path)) for path, state in ours.items() if theirs.get(path) != state} == {}
    assert theirs.keys() - ours.keys() == {"."}
