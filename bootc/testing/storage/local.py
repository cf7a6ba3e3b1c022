"""Clauses S7: what belongs to the machine — /etc of each deployment, /var of each stateroot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootc.errors import BootcError, DeploymentError
from bootc.testing.fakes import FakeLayer, os_image
from bootc.testing.storage.base import StorageSuite
from bootc.testing.storage.system import System
from bootc.testing.suite import clause
from bootc.testing.trees import read


def change(etc: Path) -> None:
    """What administrators do: edit, add, delete, with owners, modes and attributes."""
    (etc / "kept").write_text("edited\n")
    (etc / "kept").chmod(0o600)
    (etc / "passwd").unlink()
    (etc / "mine").mkdir(mode=0o750)
    (etc / "mine/file").write_text("local\n")
    os.chown(etc / "mine/file", 5, 6)
    os.setxattr(etc / "mine/file", "user.local", b"1")
    (etc / "mine/link").symlink_to("../kept")


def conflicting() -> tuple[FakeLayer, FakeLayer]:
    """An /etc with a file, and one with a directory in its place: no merge can carry a changed file over."""
    as_directory = FakeLayer().directory("etc/conf").file("etc/conf/part", b"new form\n")
    return FakeLayer().file("etc/conf", b"old form\n"), as_directory


class Local(StorageSuite):
    """S7."""

    @clause("S7.1")
    def test_etc_is_the_booted_system_s(self, system: System) -> None:
        booted = system.install("1")
        assert system.deployer.etc(booted.id).samefile(system.etc)
        assert (system.etc / "version").read_text() == "image 1\n"
        (system.etc / "mine").write_text("written while it runs")
        assert (system.deployer.etc(booted.id) / "mine").read_text() == "written while it runs"
        staged = system.stage(os_image("2"))
        with pytest.raises(DeploymentError):
            system.deployer.etc(staged.id)

    @clause("S7.2")
    def test_local_changes_are_carried_over(self, system: System) -> None:
        system.install("1")
        change(system.etc)
        mine = read(system.etc / "mine")
        system.upgrade("2")
        status = (system.etc / "kept").stat()
        assert ((system.etc / "kept").read_text(), status.st_mode & 0o777, status.st_gid) == ("edited\n", 0o600, 4)
        assert not (system.etc / "passwd").exists()
        assert read(system.etc / "mine").without_times() == mine.without_times()
        assert (system.etc / "mine").stat().st_mode & 0o7777 == 0o750

    @clause("S7.3")
    def test_what_was_not_changed_follows_the_image(self, system: System) -> None:
        system.install("1")
        change(system.etc)
        for version in ("2", "3"):
            system.upgrade(version)
            assert (system.etc / "version").read_text() == f"image {version}\n"
            only = [path.name for path in system.etc.iterdir() if path.name.startswith("only-")]
            assert only == [f"only-{version}"]
            assert (system.etc / "kept").read_text() == "edited\n"

    @clause("S7.4")
    def test_changes_are_those_against_the_image_that_they_were_made_on(self, system: System) -> None:
        layers = {number: FakeLayer().file("etc/conf", f"of {number}\n".encode()) for number in "1234"}
        system.install("1", layers["1"])
        system.upgrade("2", layers["2"])
        (system.etc / "conf").write_text("of 1\n")
        (system.etc / "version").write_text("image 3\n")
        system.upgrade("3", layers["3"])
        assert (system.etc / "conf").read_text() == "of 1\n", "a local change, although an older image said the same"
        system.upgrade("4", layers["4"])
        assert (system.etc / "conf").read_text() == "of 1\n"
        assert (system.etc / "version").read_text() == "image 4\n", "the local change became the image's own"

    @clause("S7.5")
    def test_changes_after_staging_are_carried_over(self, system: System) -> None:
        system.install("1")
        system.stage(os_image("2"))
        change(system.etc)
        (system.etc / "version").write_text("late\n")
        system.finalize()
        system.reboot()
        assert (system.etc / "kept").read_text() == "edited\n"
        assert (system.etc / "version").read_text() == "late\n"
        assert (system.etc / "mine/file").read_text() == "local\n"
        assert not (system.etc / "passwd").exists()

    @clause("S7.6")
    def test_a_fresh_etc_is_the_image_s(self, system: System) -> None:
        image = os_image("2")
        system.install("1")
        change(system.etc)
        system.upgrade("2", merge_from=None)
        found = read(system.etc).nodes
        expected = {path.removeprefix(b"etc/"): node for path, node in image.tree.without_times().nodes.items()}
        for path in (b"kept", b"passwd", b"version", b"only-2"):
            assert found[path].content == expected[path].content
            assert (found[path].mode, found[path].owner) == (expected[path].mode, expected[path].owner)
        assert b"mine" not in found

    @clause("S7.7")
    def test_the_rollback_keeps_its_own_etc(self, system: System) -> None:
        first = system.install("1")
        change(system.etc)
        before = read(system.etc)
        second = system.upgrade("2")
        (system.etc / "kept").write_text("edited again\n")
        (system.etc / "mine/file").unlink()
        system.arrange(first.id, second.id)
        system.reboot()
        assert read(system.etc) == before
        system.arrange(second.id, first.id)
        system.reboot()
        assert (system.etc / "kept").read_text() == "edited again\n"

    @clause("S7.8")
    def test_a_conflict_is_known_before_staging(self, system: System) -> None:
        old, new = conflicting()
        booted = system.install("1", old)
        image = os_image("2", new)
        imported = system.fetch(image)
        before = system.deployments()
        assert not [finding for finding in system.deployer.preview(imported, booted.id) if finding.is_fatal]
        (system.etc / "conf").write_text("edited\n")
        tree = read(system.etc)
        fatal = [finding for finding in system.deployer.preview(imported, booted.id) if finding.is_fatal]
        assert fatal
        assert any("conf" in f"{finding.subject} {finding.message}" for finding in fatal)
        assert (system.deployments(), read(system.etc)) == (before, tree)

    @clause("S7.9")
    def test_a_late_conflict_leaves_the_old_deployment_the_default(self, system: System) -> None:
        old, new = conflicting()
        first = system.install("1", old)
        system.stage(os_image("2", new))
        (system.etc / "conf").write_text("edited\n")
        system.publish(narrow=True)
        with pytest.raises(BootcError):
            system.deployer.finalize()
        system.publish()
        assert (system.reboot().id, system.running()) == (first.id, "1")
        assert (system.etc / "conf").read_text() == "edited\n"
        system.clean()
        assert system.findings() == []
        (system.etc / "conf").unlink()
        system.upgrade("2", new)
        assert system.running() == "2"

    @clause("S7.10")
    def test_var_is_filled_once_and_then_left_alone(self, system: System) -> None:
        first = system.install("1")
        data = system.var / "lib/data"
        status, inside = data.stat(), (data / "file").stat()
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o750, 7, 8)
        assert (inside.st_mode & 0o7777, inside.st_uid, inside.st_gid) == (0o640, 7, 8)
        assert (data / "file").read_text() == "initial\n"
        (data / "file").write_text("changed\n")
        (system.var / "log/mine").write_text("local\n")
        second = system.upgrade("2", FakeLayer().file("var/lib/data/new", b"shipped later\n"))
        assert (data / "file").read_text() == "changed\n"
        assert (system.var / "log/mine").read_text() == "local\n"
        assert not (data / "new").exists()
        (data / "file").unlink()
        system.arrange(first.id, second.id)
        system.reboot()
        assert not (data / "file").exists()
        assert (system.var / "log/mine").read_text() == "local\n"

    @clause("S7.11")
    def test_each_stateroot_has_its_own_var_and_etc(self, system: System) -> None:
        first = system.install("1")
        (system.var / "lib/data/file").write_text("changed\n")
        change(system.etc)
        system.initialize("other")
        other = system.upgrade("2", stateroot="other")
        assert other.stateroot == "other"
        assert (system.var / "lib/data/file").read_text() == "initial\n"
        assert (system.etc / "kept").read_text() == "shipped\n"
        assert first.id in system.ids(), "what another stateroot has is not in the way"
        system.arrange(*[id for id in system.ids() if id != other.id], other.id)
        assert system.reboot().id == first.id
        assert (system.var / "lib/data/file").read_text() == "changed\n"
