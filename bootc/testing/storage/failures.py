"""Clauses S12: full disks, damage, and processes that are killed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest
from attrs import define

from bootc.deployment import DeploymentId
from bootc.errors import BootcError, NoSpaceError
from bootc.image import Layer
from bootc.testing.child import ChildError, in_child
from bootc.testing.fakes import MIB, FakeImage, FakeLayer, os_image
from bootc.testing.storage.base import StorageSuite
from bootc.testing.storage.damage import files_with, remove, replace
from bootc.testing.storage.keeping import ballast
from bootc.testing.storage.system import System
from bootc.testing.suite import clause
from bootc.testing.trees import difference, read

_MARKED = b"".join(b"%d: content that no other file has\n" % number for number in range(3000))
_LARGE = 10_000
_SMALL = 96 * MIB


class Full(StorageSuite):
    """S12, no room."""

    @clause("S12.1")
    @pytest.mark.parametrize("left", [0, 100, 1000, 3000], ids=lambda kib: f"{kib}KiB")
    def test_a_full_disk_is_a_typed_error_and_leaves_the_old_system(self, system: System, left: int) -> None:
        system.machine.use_disk(_SMALL)
        system.reopen()
        first = system.install("1")
        _fill_bytes(system.machine.root / "filler", left * 1024)
        image = os_image("2", ballast(4 * MIB))
        self._require_no_room(system, image)
        (system.machine.root / "filler").unlink()
        _require_goes_on(system, image, first.id)

    @clause("S12.2")
    @pytest.mark.parametrize("left", [0, 10, 100], ids=lambda count: f"{count}files")
    def test_no_more_files_is_a_typed_error_and_leaves_the_old_system(self, system: System, left: int) -> None:
        system.machine.use_disk(_SMALL)
        system.reopen()
        first = system.install("1")
        layer = FakeLayer()
        for number in range(300):
            layer.file(f"usr/share/file-{number}", b"%d is a file of its own\n" % number * 50)
        image = os_image("2", layer)
        if os.statvfs(system.machine.root).f_files:
            _fill_files(system.machine.root / "filler", left)
            self._require_no_room(system, image)
            shutil.rmtree(system.machine.root / "filler")
        _require_goes_on(system, image, first.id)

    def _require_no_room(self, system: System, image: FakeImage) -> None:
        before = system.ids()
        with pytest.raises(NoSpaceError):
            system.stage(image)
        assert system.store.find(image.image) is None or system.staged is None
        assert system.ids() == before == [d.id for d in system.reopen().deployer.deployments()]
        system.publish()


class Damage(StorageSuite):
    """S12, damage."""

    @clause("S12.3")
    def test_an_altered_file_is_found(self, system: System) -> None:
        system.install("1", FakeLayer().file("usr/lib/marked", _MARKED))
        assert system.findings() == []
        found = list(files_with(system.machine.root, _MARKED))
        assert found, "the store keeps the file in a form that this test does not know: override `files_with`"
        for path in found:
            replace(path, _MARKED[:-2] + b"X\n")
        assert [finding for finding in system.reopen().store.check() if finding.is_fatal]

    @clause("S12.4")
    def test_a_missing_file_is_found(self, system: System) -> None:
        system.install("1", FakeLayer().file("usr/lib/marked", _MARKED))
        for path in list(files_with(system.machine.root, _MARKED)):
            remove(path)
        assert [finding for finding in system.reopen().store.check() if finding.is_fatal]

    @clause("S12.5")
    def test_a_deployment_without_its_kernel_is_found(self, system: System) -> None:
        booted = system.install("1")
        kernel = system.machine.root / booted.entry.kernel
        replace(kernel, b"")
        found = [finding for finding in system.reopen().deployer.check() if finding.is_fatal]
        assert found
        assert system.deployments()[0].id == booted.id

    @clause("S12.6")
    def test_what_an_interrupted_import_left_is_not_trusted(self, system: System) -> None:
        system.initialize()
        image = os_image("1", ballast(MIB // 4), FakeLayer().file("usr/lib/last", b"l"))
        streams, before = image.streams(), set(_large_files(system.machine.root))
        streams.during = lambda layer: _end_at(layer, image)
        with pytest.raises(ChildError):
            in_child(lambda: system.store.import_image(image.image, streams))
        left = set(_large_files(system.machine.root)) - before
        assert left, "nothing was left to be damaged: a finished layer must be"
        for path in left:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            replace(path, bytes(content))
        store = system.reopen().store
        for _ in image.layers:
            with suppress(BootcError):
                store.import_image(image.image, image.streams())
        found = store.find(image.image)
        assert found, "after failures that told of the damage, the import must succeed"
        with store.open_tree(found) as tree, tree.directory() as directory:
            assert difference(image.tree.without_times(), read(directory).without_times()) == {}


class Killed(StorageSuite):
    """S12, a process that ends in the middle."""

    @clause("S12.7")
    def test_a_killed_import_leaves_the_old_system_and_the_next_one_a_whole_image(self, system: System) -> None:
        first = system.install("1")
        image = os_image("2", ballast(MIB), FakeLayer().file("usr/lib/marked", _MARKED))
        system.publish(narrow=True)
        before = system.ids()
        for moment in _moments():
            if not self._killed_at(system, moment, lambda: _import(system, image)):
                break
            system.reopen()
            assert [id for id in before if id in system.ids()] == system.ids()
            assert first.id in system.ids()
            found = system.store.find(image.image)
            if found:
                with system.store.open_tree(found) as tree, tree.directory() as directory:
                    assert difference(image.tree.without_times(), read(directory).without_times()) == {}
        _require_goes_on(system, image, first.id)

    @clause("S12.8")
    def test_a_killed_stage_or_finalization_leaves_the_old_or_the_new_default(self, system: System) -> None:
        first = system.install("1")
        image = os_image("2")
        imported = system.fetch(image)
        request = system.request()

        def update() -> None:
            deployer = system.open_backend().deployer
            deployer.stage(imported, request)
            deployer.finalize()

        for moment in _moments():
            is_killed = self._killed_at(system, moment, update)
            system.reopen()
            if _default(system) != first.id:
                break
            assert is_killed
            system.publish()
            assert system.reboot().id == first.id
            system.clean()
            assert system.findings() == []
            imported = system.fetch(image)
        system.publish()
        assert (system.reboot().id, system.running()) == (_default(system), "2")
        system.clean()
        assert system.findings() == []

    def _killed_at(self, system: System, moment: int, action: Callable[[], None]) -> bool:
        """Run something in a process that is killed at a moment; whether it came to that."""

        def run() -> str:
            killer = _Killer(moment, type(system.deployer).__module__.split(".")[0])
            system.machine.observer = system.machine.check_cancelled = killer
            if self.writes == "opaque":
                sys.setprofile(killer.called)
            action()
            sys.setprofile(None)
            return "ended"

        try:
            in_child(run)
        except ChildError as error:
            if "killed" not in error.message:
                raise
            return True
        return False


# ---------------------------------------------------------------- parts


def _fill_bytes(path: Path, left: int) -> None:
    """A file that leaves so many bytes free."""
    root = path.parent
    os.sync()
    with path.open("wb", buffering=0) as file:
        size = 1 << 20
        while size >= 512:
            found = os.statvfs(root)
            if found.f_bavail * found.f_frsize - size < left:
                size //= 2
                continue
            try:
                file.write(os.urandom(size))
                os.fsync(file.fileno())
            except OSError:
                size //= 2


def _fill_files(directory: Path, left: int) -> None:
    """Empty files, until only so many more can be made."""
    directory.mkdir()
    number = 0
    with suppress(OSError):
        while os.statvfs(directory).f_favail > left:
            (directory / str(number)).touch()
            number += 1


def _require_goes_on(system: System, image: FakeImage, rollback: str) -> None:
    """The next run repairs what was left, and the update works."""
    system.reopen()
    system.clean()
    assert system.findings() == []
    staged = system.stage(image)
    system.finalize()
    assert (system.reboot().id, system.running()) == (staged.id, "2")
    assert rollback in system.ids()
    system.clean()
    assert system.findings() == []
    imported = system.store.find(image.image)
    assert imported is not None
    with system.store.open_tree(imported) as tree, tree.directory() as directory:
        expected, found = (tree.without_times().below(b"usr") for tree in (image.tree, read(directory)))
        assert {path: found.nodes.get(path) for path in expected.nodes} == expected.nodes


def _default(system: System) -> DeploymentId:
    return next(d.id for d in system.deployments() if not d.is_staged)


def _large_files(root: Path) -> Iterator[Path]:
    """Files whose size shows that they hold content."""
    for directory, _, names in os.walk(root):
        paths = (Path(directory, name) for name in names)
        yield from (path for path in paths if not path.is_symlink() and path.stat().st_size >= _LARGE)


def _end_at(layer: Layer, image: FakeImage) -> None:
    if layer.diff_id == image.layers[-1].diff_id:
        os.kill(os.getpid(), signal.SIGKILL)


def _import(system: System, image: FakeImage) -> None:
    streams = image.streams()
    streams.during = lambda layer: system.machine.check_cancelled()
    system.open_backend().store.import_image(image.image, streams)


def _moments() -> Iterator[int]:
    """Numbers of moments at which to kill, ever farther apart."""
    last, moment = 1, 1
    while True:
        yield moment
        last, moment = moment, last + moment


@define
class _Killer:
    """Kills its process at a moment: a step through a volume, or a question whether the user cancelled; in a backend
    whose steps nobody sees, a call of one of its own functions."""

    left: int
    package: str = ""
    """of the backend"""

    def called(self, frame: FrameType, event: str, argument: object) -> None:
        """For sys.setprofile."""
        if event == "call" and str(frame.f_globals.get("__name__")).split(".")[0] == self.package:
            self()

    def __call__(self, *what: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
