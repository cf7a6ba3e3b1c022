"""Upgrade, switch and rollback on a sysroot that is not booted; what they leave, as ostree's own tool sees it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import gi
import pytest

from bootc.image import Image, canonical_json
from tests.integration.main_job import Host, Registry, copy_of, host_on_disk, installed_once, two_layers
from tests.integration.sysroots import refs
from tests.ostree_images import Tar

gi.require_version("OSTree", "1.0")
from gi.repository import Gio, OSTree  # noqa: E402

pytestmark = pytest.mark.root

NOTE = "This sysroot is not booted: the new deployment is its default now.\n"
STORED = "ostree/container"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry.serving(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Host:
    """A disk on which version 1 was installed from the registry."""
    return installed_once(tmp_path_factory.mktemp("host"), registry, "--karg", "quiet")


@pytest.fixture
def host(tmp_path: Path, registry: Registry, installed: Host) -> Iterator[Host]:
    """The same as it was after the installation."""
    with copy_of(installed, tmp_path) as found:
        yield found


def test_a_mount_point_may_have_any_name(tmp_path: Path, registry: Registry) -> None:
    registry.publish("1")
    with host_on_disk(tmp_path / os.fsdecode(b"\xff"), registry.server.address) as host:
        host.install(f"docker://{registry.name}")
        registry.publish("2")
        assert host.do("upgrade").startswith(f"Deployed: {registry.name}\n")
        assert host.versions() == ["2", "1"]


# ---------------------------------------------------------------- deployments


def ostree(*words: str) -> str:
    """Run ostree's own tool; fails if it does."""
    done = subprocess.run(["ostree", *words], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed_by_ostree(host: Host) -> list[str]:
    """Commits of the deployments in boot order."""
    status = ostree("admin", f"--sysroot={host.root}", "status")
    return re.findall(r"^[* ] default ([0-9a-f]{64})\.0", status, re.M)


def boot_menu(host: Host) -> list[str]:
    """The commits that the entries start, the default first, each followed through its boot link."""
    entries = sorted((host.root / "boot/loader/entries").iterdir(), reverse=True)
    links = [re.search(r"^options .*ostree=(\S+)", entry.read_text(), re.M) for entry in entries]
    targets = [(host.root / link[1].lstrip("/")).resolve() for link in links if link]
    return [target.name.removesuffix(".0") for target in targets]


def commits(host: Host) -> list[str]:
    """Of the deployments in boot order, as status tells them."""
    return [path.name.removesuffix(".0") for path in host.deployments]


def require_agreement(host: Host, versions: list[str]) -> None:
    """Status, ostree's tool and the boot menu show the same deployments."""
    assert host.versions() == versions
    assert commits(host) == listed_by_ostree(host) == boot_menu(host)


def test_upgrade_and_rollback_of_a_sysroot_that_is_not_booted(host: Host, registry: Registry) -> None:
    require_agreement(host, ["1"])
    (host.deployments[0] / "etc/mine").write_text("mine\n")
    (host.deployments[0] / "etc/passwd").write_text("edited\n")
    var = host.root / "ostree/deploy/default/var"
    (var / "lib/data/file").write_text("changed\n")

    registry.publish("2")
    assert host.do("upgrade").endswith(NOTE)
    require_agreement(host, ["2", "1"])
    new, old = host.deployments
    assert [(new / "etc" / name).read_text() for name in ("mine", "passwd", "version")] == ["mine\n", "edited\n", "2"]
    assert [(old / "etc" / name).read_text() for name in ("mine", "passwd", "version")] == ["mine\n", "edited\n", "1"]
    assert (var / "lib/data/file").read_text() == "changed\n"

    assert host.do("rollback") == "Next boot: rollback deployment\n"
    require_agreement(host, ["1", "2"])
    assert host.do("rollback") == "Next boot: rollback deployment\n"
    require_agreement(host, ["2", "1"])


def test_the_one_before_the_last_upgrade_is_kept(host: Host, registry: Registry) -> None:
    for version in ("2", "3"):
        registry.publish(version)
        host.do("upgrade")
    require_agreement(host, ["3", "2"])
    assert sorted(os.listdir(host.root / "ostree/deploy/default/deploy")) == sorted(
        name for commit in commits(host) for name in (f"{commit}.0", f"{commit}.0.origin")
    )


def test_after_a_switch_upgrades_follow_the_new_name(host: Host, registry: Registry) -> None:
    other = f"{registry.server.address}/other/os:stable"
    registry.layout.add("5", two_layers("5"))
    registry.server.push(registry.layout.folder, "5", "other/os:stable")
    assert host.do("switch", other).startswith(f"Deployed: {other}\n")
    require_agreement(host, ["5", "1"])
    registry.layout.add("6", two_layers("6"))
    registry.server.push(registry.layout.folder, "6", "other/os:stable")
    host.do("upgrade")
    require_agreement(host, ["6", "5"])
    assert [entry["image"]["image"] for entry in host.status()["otherDeployments"]] == [
        {"image": other, "transport": "registry"}
    ] * 2


# ---------------------------------------------------------------- the store, for upstream


def escaped(text: str) -> str:
    """As upstream names refs: all but letters, digits, `-`, and a slash after a letter or a digit."""
    found = ""
    for index, letter in enumerate(text):
        follows = index and text[index - 1].isascii() and text[index - 1].isalnum() and index < len(text) - 1
        is_plain = (letter.isascii() and letter.isalnum()) or letter == "-" or (letter == "/" and follows)
        found += letter if is_plain else "__" if letter == "_" else f"_{ord(letter):02X}_"
    return found


def metadata(host: Host, commit: str) -> Mapping[str, Any]:
    repo = OSTree.Repo.new(Gio.File.new_for_path(str(host.root / "ostree/repo")))
    repo.open(None)
    found: Mapping[str, Any] = repo.load_commit(commit)[1].unpack()[0]
    return found


def parent(host: Host, commit: str) -> str | None:
    repo = OSTree.Repo.new(Gio.File.new_for_path(str(host.root / "ostree/repo")))
    repo.open(None)
    found: str | None = OSTree.commit_get_parent(repo.load_commit(commit)[1])
    return found


def test_the_store_is_laid_out_as_upstreams(host: Host, registry: Registry) -> None:
    registry.publish("1")
    layers = [*two_layers("2"), Tar().directory("etc").whiteout("etc/default").data]
    image = registry.publish("2", layers)
    host.do("upgrade")
    old, new = registry.layout.add("1", two_layers("1")), image
    deployed = commits(host)

    blobs = {f"{STORED}/blob/{escaped(str(layer.descriptor.digest))}" for layer in (*old.layers, *new.layers)}
    name = f"{STORED}/image/{escaped(f'docker://{registry.name}')}"
    found = refs(host.root)
    kept = {ref for ref in found if ref.startswith(STORED)}
    assert kept == blobs | {name}
    assert found[name] == deployed[0]
    assert {commit for ref, commit in found.items() if re.match("ostree/[01]/", ref)} == set(deployed)
    assert found.keys() == kept | {ref for ref in found if re.fullmatch("ostree/[01]/[01]/[01]", ref)}

    for commit, described in zip(deployed, (new, old), strict=True):
        require_merge_commit(host, commit, described)
    for layer in new.layers:
        commit = found[f"{STORED}/blob/{escaped(str(layer.descriptor.digest))}"]
        assert parent(host, commit) is None
        assert metadata(host, commit).keys() == {"ostree.importer.version", "bootc.implied-directories"}
    whiteout = ostree("ls", f"--repo={host.root}/ostree/repo", commit, "/usr/etc/.wh.default")
    assert whiteout.split()[:4] == ["-00644", "0", "0", "0"]


def require_merge_commit(host: Host, commit: str, image: Image) -> None:
    """The four keys of an image's commit, and the one line of a deployment's origin."""
    texts = dict(metadata(host, commit))
    assert texts.pop("ostree.importer.version")
    assert texts == {
        "ostree.container.image-config": canonical_json(json.loads(image.config)),
        "ostree.manifest": canonical_json(json.loads(image.manifest)),
        "ostree.manifest-digest": str(image.digest),
    }
    assert parent(host, commit) is None
    origin = (host.root / f"ostree/deploy/default/deploy/{commit}.0.origin").read_text()
    name = image_name(host)
    assert origin == f"[origin]\ncontainer-image-reference=ostree-unverified-registry:{name}\n"


def image_name(host: Host) -> str:
    return str(host.status()["otherDeployments"][0]["image"]["image"]["image"])


def test_ostree_finds_nothing_wrong(host: Host, registry: Registry) -> None:
    registry.publish("2")
    host.do("upgrade")
    assert "object fsck of" in ostree("fsck", f"--repo={host.root}/ostree/repo")
    config = (host.root / "ostree/repo/config").read_text()
    assert "mode=bare\n" in config
    host.do("rollback")
    assert "object fsck of" in ostree("fsck", f"--repo={host.root}/ostree/repo")


def test_arguments_of_the_installation_stay(host: Host, registry: Registry) -> None:
    registry.publish("2")
    host.do("upgrade")
    for entry in (host.root / "boot/loader/entries").iterdir():
        options = re.search("^options (.*)$", entry.read_text(), re.M)
        assert options
        assert "quiet" in options[1].split()


# ---------------------------------------------------------------- progress

FETCH = {"bytes", "bytesCached", "bytesTotal", "description", "id", "steps", "stepsCached", "stepsTotal", "subtasks"}
COSTS = {"bytesFetched", "bytesReused", "requests"}
FORMS = {
    "Start": {"type", "version"},
    "ProgressBytes": {"type", "task", *FETCH, *COSTS},
    "ProgressSteps": {"type", "task", *FETCH} - {"bytes", "bytesCached", "bytesTotal"},
}
SUBTASKS = {
    "ProgressBytes": {"bytes", "bytesCached", "bytesTotal", "description", "id", "subtask", "bytesFetched", "requests"},
    "ProgressSteps": {"completed", "description", "id", "subtask"},
}


def test_progress_is_told_line_by_line(host: Host, registry: Registry) -> None:
    image = registry.publish("2", [*two_layers("2"), Tar().add("ballast", data=os.urandom(4 << 20)).data])
    lines = progress(host, "upgrade")
    assert lines[0] == {"type": "Start", "version": "0.1.0"}
    for line in lines:
        assert line.keys() == FORMS[line["type"]]
        for subtask in line.get("subtasks", ()):
            assert subtask.keys() - {"seconds"} == SUBTASKS[line["type"]]
    pulled = [line for line in lines if line["type"] == "ProgressBytes"]
    missing = image.layers[1:]
    size = sum(layer.descriptor.size or 0 for layer in missing)
    assert {(line["id"], line["bytesTotal"], line["stepsTotal"]) for line in pulled} == {(str(image.digest), size, 2)}
    assert all(before["bytes"] <= after["bytes"] for before, after in pairwise(pulled))
    assert (pulled[-1]["bytes"], pulled[-1]["steps"], pulled[-1]["stepsCached"]) == (size, 2, 1)
    assert (pulled[-1]["bytesFetched"], pulled[-1]["bytesReused"], pulled[-1]["requests"]) == (size, 0, 5)
    assert [(subtask["requests"], "seconds" in subtask) for subtask in pulled[-1]["subtasks"]] == [(1, True)] * 2
    short = {layer.descriptor.digest.hex[:21] for layer in missing}
    assert {subtask["id"] for subtask in pulled[-1]["subtasks"]} == short
    steps = [line for line in lines if line["type"] == "ProgressSteps"]
    assert list(dict.fromkeys(line["task"] for line in steps)) == ["importing", "staging"]
    assert [line["steps"] for line in steps if line["task"] == "importing"] == [0, 1]
    staged = steps[-1]
    assert staged["steps"] == staged["stepsTotal"] == 3
    assert all(subtask["completed"] for subtask in staged["subtasks"])
    assert progress(host, "upgrade") == []


def progress(host: Host, *words: str) -> list[dict[str, Any]]:
    """What a command tells on a pipe; each line must be one canonical JSON object."""
    reading, writing = os.pipe()
    with open(reading) as lines:
        host.do(*words, "--progress-fd", str(writing), pass_fds=(writing,))
        os.close(writing)
        text = lines.read().splitlines()
    found = [json.loads(line) for line in text]
    assert [canonical_json(line) for line in found] == text
    return found
