"""The dirimage backend loses power before any step: what the machine would boot is whole, and it goes on from there."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest
from attrs import define, field
from bootc_dirimage.layout import LAYOUT
from bootc_dirimage.options import DirimageOptions

from bootc.durable import DirectoryVolume, Step
from tests.dirimage_system import System, registry
from tests.integration.sysroots import MIB, make_disk, mounted
from tests.ostree_images import Tar, normal_form
from tests.unit.toys import PowerCut

pytestmark = pytest.mark.root

STRIDE = 40
"""of the steps in directories that nothing names yet, or any more, one of so many is tried"""
_PASSIVE = ("fsync", "create", "write", "mkdir")
"""steps that only prepare others, outside of such directories"""


def version(number: str) -> Tar:
    """The upper layer of this version, with a bootloader."""
    return Tar().add("usr/lib/systemd/boot/efi/systemd-bootx64.efi", data=b"boot").add("usr/lib/only", data=b"x")


@define
class Cutter:
    """Notes all steps, and takes no more of them after `limit`."""

    limit: int | None = None
    steps: list[Step] = field(factory=list)

    def __call__(self, step: Step) -> None:
        if self.limit is not None and len(self.steps) >= self.limit:
            raise PowerCut
        self.steps.append(step)


def system_in(folder: Path, slots: int, cutter: Cutter | None = None) -> System:
    (folder / "esp").mkdir(parents=True, exist_ok=True)
    esp = DirectoryVolume(folder / "esp", "esp", cutter)
    return System(folder, DirimageOptions(slots=slots), esp, cutter)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real filesystem, in memory where there is room: thousands of syncs need no disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        disk = make_disk(Path(folder, "disk"), 192 * MIB)
        with mounted(disk, tmp_path_factory.mktemp("ground")) as root:
            yield root


@pytest.fixture(scope="module")
def installed(ground: Path) -> Callable[[int], Path]:
    """Folders of machines with so many slots, on which version 2 runs, and version 1 did before."""
    folders: dict[int, Path] = {}

    def make(slots: int) -> Path:
        if slots not in folders:
            folders[slots] = ground / f"installed-{slots}"
            system = system_in(folders[slots], slots)
            system.install(registry("1", version("1")))
            first = system.boot()
            (system.etc(first) / "mine").write_text("mine")
            system.upgrade(registry("2", version("2")))
            system.shut_down()
            system.boot()
        return folders[slots]

    return make


def upgrade(system: System) -> None:
    system.upgrade(registry("3", version("3")))
    system.shut_down()


def upgrade_twice(system: System) -> None:
    system.upgrade(registry("3", version("3")))
    system.upgrade(registry("4", version("4")))
    system.shut_down()


def roll_back(system: System) -> None:
    system.transaction().roll_back()


def roll_back_and_upgrade(system: System) -> None:
    system.transaction().roll_back()
    upgrade(system)


def go_back_to_the_first(system: System) -> None:
    system.upgrade(registry("1", version("1")))
    system.shut_down()


def collect(system: System) -> None:
    system.transaction().collect_garbage()


STORIES = (upgrade, upgrade_twice, roll_back, roll_back_and_upgrade, go_back_to_the_first, collect)
CASES = [*((story, 2) for story in STORIES), (upgrade_twice, 3), (roll_back_and_upgrade, 3)]


def restarted(installed: Path, folder: Path, slots: int, cutter: Cutter) -> System:
    """A copy of the machine, running, whose next step is the cutter's first."""
    subprocess.run(["cp", "-a", installed, folder], check=True)
    system = system_in(folder, slots)
    system.boot()
    system.esp, system.observer = DirectoryVolume(folder / "esp", "esp", cutter), cutter
    return system


def recorded(story: Callable[[System], None], installed: Path, folder: Path, slots: int) -> list[Step]:
    cutter = Cutter()
    story(restarted(installed, folder, slots, cutter))
    shutil.rmtree(folder)
    return cutter.steps


def cut_points(steps: list[Step]) -> Iterator[int]:
    """Before each step that changes what has a name, and before some of those that nobody sees."""
    for number, step in enumerate(steps):
        is_hidden = any(f"{suffix}/" in path for path in step.paths for suffix in (".partial", ".removed"))
        if number % STRIDE == 0 or not (is_hidden or step.name in _PASSIVE):
            yield number
    yield len(steps)


def require_whole(system: System) -> None:
    """Whatever the menu offers could be booted."""
    entries = system.bootloader.read().entries
    assert entries
    for entry in entries:
        tree = system.tree(entry.deployment)
        label = (tree / "usr/lib/version").read_text()
        assert normal_form(tree) == WHOLE[label], f"version {label} is not whole"
        assert (tree / "usr/lib/large").stat().st_size == 9999 * 25
        assert (system.etc(entry.deployment) / "version").read_text() == f"image {label}\n"
        plan = (system.root / LAYOUT.deployments / entry.deployment / "mounts").read_text()
        sources = [PurePosixPath(line.split()[1]) for line in plan.splitlines()[1:]]
        assert len(sources) == 3
        assert all((system.root / source).is_dir() for source in sources)
    assert (system.root / LAYOUT.var / "default/lib/data/file").exists()


WHOLE: dict[str, object] = {}
"""the whole tree of each version"""


@pytest.fixture(scope="module", autouse=True)
def whole(ground: Path) -> None:
    for number in "123459":
        system = System(ground / f"whole-{number}")
        deployment = system.install(registry(number, version(number)))
        WHOLE[number] = normal_form(system.tree(deployment.id))


def require_goes_on(system: System) -> None:
    """One more upgrade and a rollback, as if nothing had happened; and nothing is left over."""
    before = system.running
    system.upgrade(registry("9", version("9")))
    system.shut_down()
    after = system.boot()
    require_whole(system)
    assert (system.tree(after) / "usr/lib/version").read_text() == "9"
    assert (system.etc(after) / "mine").read_text() == "mine"
    assert list(system.backend.store.check()) == list(system.backend.deployer.check()) == []
    system.transaction().roll_back()
    assert system.boot() == before
    system.transaction().collect_garbage()
    left = [*system.names("slots"), *system.names("deployments"), *system.names("var")]
    assert [name for name in left if name.endswith((".partial", ".removed"))] == []


@pytest.mark.parametrize(("story", "slots"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_power_cut_before_any_step_leaves_a_system_that_boots_and_goes_on(
    ground: Path, installed: Callable[[int], Path], story: Callable[[System], None], slots: int
) -> None:
    points = list(cut_points(recorded(story, installed(slots), ground / "recorded", slots)))
    for turn, number in enumerate(points):
        folder = ground / str(number)
        system = restarted(installed(slots), folder, slots, Cutter(number))
        with suppress(PowerCut):
            story(system)
        system.observer, system.esp = None, DirectoryVolume(folder / "esp", "esp")
        require_whole(system)
        system.boot()
        require_whole(system)
        if turn % 6 == 0 or number == points[-1]:
            require_goes_on(system)
        shutil.rmtree(folder)


def test_what_is_renamed_to_its_name_was_synced_before(ground: Path, installed: Callable[[int], Path]) -> None:
    """Between the last step that builds a directory and its renaming the filesystem is synced."""
    steps = recorded(upgrade, installed(2), ground / "recorded", 2)
    renamed = []
    for number, step in enumerate(steps):
        if step.name == "rename" and step.paths[0].endswith(".partial") and ".tar." not in step.paths[0]:
            before = list(itertools.takewhile(lambda earlier: earlier.name != "syncfs", reversed(steps[:number])))
            touched = [path for earlier in before for path in earlier.paths if earlier.name != "fsync"]
            assert not [path for path in touched if path.startswith(step.paths[0])]
            renamed.append(PurePosixPath(step.paths[1]).parent.name)
    assert renamed == ["slots", "deployments", renamed[-1]]
    assert renamed[-1].endswith(tuple("0123456789abcdef"))  # etc of the deployment
