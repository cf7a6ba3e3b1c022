"""The command on a real filesystem with the real ostree backend, as a user types it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ostree_images import Tar, base_layer, make_image
from tests.unit.cli_runs import Run, bootc

pytestmark = pytest.mark.root

DIFFERENCE = [
    "Total new layers: 2     Size: 30.7 kB",
    "Removed layers:   1     Size: 10.2 kB",
    "Added layers:     1     Size: 10.2 kB",
]


class Layout:
    """An OCI layout whose tag `latest` moves from version to version."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, f"{folder}:latest"
        self.reference = f"ostree-unverified-image:oci:{self.name}"
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def publish(self, version: str) -> str:
        """Make it the latest; returns the digest."""
        layers = [base_layer("1").data, Tar().add("usr/lib/version", data=version.encode()).data]
        image = make_image(layers, labels={"org.opencontainers.image.version": version})
        for data in (*layers, image.manifest, image.config):
            (self.folder / "blobs/sha256" / hashlib.sha256(data).hexdigest()).write_bytes(data)
        descriptor = {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": str(image.digest),
            "size": len(image.manifest),
            "annotations": {"org.opencontainers.image.ref.name": "latest"},
        }
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
        return str(image.digest)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """An empty ext4, mounted."""
    disk, root = tmp_path / "disk", tmp_path / "target"
    root.mkdir()
    disk.touch()
    os.truncate(disk, 256 << 20)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, root], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", root], check=True)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "os")


def install(layout: Layout, target: Path) -> Run:
    words = ["--source-imgref", f"oci:{layout.name}", "--target-imgref", layout.name, "--target-transport", "oci"]
    chosen = ["--bootloader", "none", "--karg", "quiet", "--skip-finalize"]
    return bootc("install", "to-filesystem", *words, *chosen, str(target))


def versions(target: Path) -> list[str]:
    """Of all deployments, in boot order."""
    status: dict[str, Any] = json.loads(bootc("--sysroot", str(target), "status", "--json").out)["status"]
    return [entry["image"]["version"] for entry in status["otherDeployments"]]


def test_a_sysroot_at_rest_from_installation_to_rollback(target: Path, layout: Layout) -> None:
    one = layout.publish("1.0")
    run = install(layout, target)
    assert (run.code, run.out) == (0, "Bootloader: none\nInstallation complete!\n"), run.err
    assert f"Installing image: oci:{layout.name}\nDigest: {one}\n" in run.err

    at = ("--sysroot", str(target))
    assert bootc(*at, "status", "--format", "humanreadable").out.splitlines() == [
        f"   Other image: oci:{layout.name}",
        f"        Digest: {one} (amd64)",
        "       Version: 1.0 (2026-01-02T03:04:05Z)",
    ]
    assert bootc(*at, "upgrade") == Run(0, "No update available.\n", "")
    assert bootc(*at, "upgrade", "--check") == Run(0, f"No changes in: {layout.reference}\n", "")

    two = layout.publish("2.0")
    image = ["  Version: 2.0", f"  Digest: {two}", *DIFFERENCE]
    check = bootc(*at, "upgrade", "--check")
    cost = "To be fetched:    1     Size: 10.2 kB"
    assert check.out.splitlines() == [f"Update available for: {layout.reference}", *image, cost]
    assert versions(target) == ["1.0"]

    upgrade = bootc(*at, "update", "--quiet")
    note = "This sysroot is not booted: the new deployment is its default now."
    assert upgrade.out.splitlines() == [f"Deployed: {layout.reference}", *image, note]
    assert versions(target) == ["2.0", "1.0"]

    assert bootc(*at, "rollback").out == "Next boot: rollback deployment\n"
    assert versions(target) == ["1.0", "2.0"]
    assert bootc(*at, "internals", "publish") == Run(0, "", "")
    assert bootc(*at, "internals", "finalize-staged") == Run(0, "", "")
    assert bootc(*at, "internals", "cleanup").out.startswith("Freed: ")
    assert versions(target) == ["1.0", "2.0"]


def test_progress_for_another_program(target: Path, layout: Layout) -> None:
    layout.publish("1.0")
    install(layout, target)
    digest = layout.publish("2.0")
    read_end, write_end = os.pipe()
    try:
        words = ("--sysroot", str(target), "upgrade", "--progress-fd", str(write_end))
        assert bootc(*words, pass_fds=(write_end,)).code == 0
        os.close(write_end)
        with open(read_end, closefd=False) as lines:
            found = [json.loads(line) for line in lines]
    finally:
        os.close(read_end)
    assert found[0] == {"type": "Start", "version": "0.1.0"}
    tasks = list(dict.fromkeys(line["task"] for line in found[1:]))
    assert tasks == ["pulling", "importing", "staging"]
    pulled = [line for line in found if line.get("task") == "pulling"][-1]
    assert (pulled["id"], pulled["bytes"], pulled["bytesTotal"]) == (digest, 10240, 10240)
    assert (pulled["steps"], pulled["stepsTotal"], pulled["stepsCached"]) == (1, 1, 1)
    assert found[-1]["steps"] == found[-1]["stepsTotal"]


@pytest.mark.parametrize("told", ["2>/dev/full", "2>&-"])
def test_what_nobody_can_be_told_stops_no_update(target: Path, layout: Layout, told: str) -> None:
    layout.publish("1.0")
    install(layout, target)
    layout.publish("2.0")
    words = (sys.executable, "-m", "bootc", "--verbose", "--sysroot", str(target), "upgrade")
    command, buffered = ["sh", "-c", f'exec "$@" {told}', "sh", *words], {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=buffered)
    assert (done.returncode, done.stdout.startswith("Deployed: ")) == (0, True)
    assert versions(target) == ["2.0", "1.0"]


def test_what_cannot_be_done_to_a_sysroot_at_rest(target: Path, layout: Layout) -> None:
    layout.publish("1.0")
    install(layout, target)
    at = ("--sysroot", str(target))
    expected = {
        ("upgrade", "--from-downloaded"): "No staged deployment found (run `bootc upgrade` to fetch and stage one)",
        ("upgrade", "--tag", ""): "invalid image reference '': not a tag (check how it is written)",
        ("rollback",): "No rollback available (there is only one deployment on this system)",
        ("--backend", "nonsense", "status"): "this system was installed with backend 'ostree'; cannot use 'nonsense'"
        " (leave out --backend, or use --backend ostree)",
    }
    for words, line in expected.items():
        run = bootc(*at, *words)
        assert (run.code, run.err) == (1, f"error: {line}\n")
    switch = bootc(*at, "switch", "--transport", "oci", layout.name)
    assert switch == Run(0, "Image specification is unchanged.\n", "")


def test_an_installation_refuses_what_is_not_empty(target: Path, layout: Layout) -> None:
    layout.publish("1.0")
    (target / "precious").touch()
    run = install(layout, target)
    hint = "use --replace wipe to delete everything, or --replace alongside to keep it"
    assert run == Run(1, "", f'error: {target}: Non-empty root filesystem; found "precious" ({hint})\n')
    assert (target / "precious").exists()
