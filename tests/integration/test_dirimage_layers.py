"""Layers that are laid again from what the slot before has, and fetched again only where that is damaged."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest
from bootc_dirimage.options import DirimageOptions

from bootc.image import Digest
from bootc.layers import EntryKind
from tests.dirimage_system import REFERENCE, Registry, System, os_layers
from tests.integration.sysroots import MIB, make_disk, mounted
from tests.integration.test_dirimage_tree import SOME, actual, expected, random_layers
from tests.ostree_images import Streams, Tar, digest_of

pytestmark = pytest.mark.root

SHARED = Tar().directory("d").add("d/a", data=SOME).add("d/b", data=b"b").hardlink("d/c", "d/a").data
NEW = Tar().add("new", data=b"new").data


def running(folder: Path, layers: Sequence[bytes], options: DirimageOptions | None = None) -> System:
    """A system that runs an image of these layers."""
    system = System(folder, options or DirimageOptions())
    system.install(Registry(layers, "1"))
    system.boot()
    return system


def staged(system: System, layers: Sequence[bytes]) -> Path:
    """The tree of an image of these layers, which is staged."""
    system.upgrade(Registry(layers, "2"))
    assert system.slots.staged
    return system.tree(system.slots.staged.id)


def slot(system: System) -> Path:
    """The slot of the system that runs."""
    assert system.running
    return system.tree(system.running).parent


def digests(layers: Sequence[bytes]) -> list[Digest]:
    return [digest_of(layer) for layer in layers]


def contents(layers: Sequence[bytes]) -> set[tuple[bytes, object]]:
    """Which file has which content."""
    return {(path, state[6]) for path, state in expected(layers)[0].items() if state[0] is EntryKind.FILE and state[6]}


@pytest.mark.parametrize("seed", range(16))
def test_layers_that_are_laid_again_give_what_flatten_says(tmp_path: Path, seed: int) -> None:
    """Names, attributes, links, whiteouts; and contents that a layer above hid before are fetched again."""
    choose = random.Random(seed)
    old = [*os_layers("1"), *random_layers(choose)]
    new = [*old[:-1], *random_layers(choose)[-1:], NEW]
    system = running(tmp_path, old)
    source = Registry(new, "2")
    unknown = list(dict.fromkeys(digest for digest in digests(new) if digest not in digests(old)))
    assert [layer.diff_id for layer in system.backend.store.missing(source.image)] == unknown
    tree = staged(system, new)
    assert contents(new) - contents(old) - contents(new[-2:]) or system.streams.opened == unknown
    assert actual(tree) == expected(new)
    assert actual(slot(system) / "tree") == expected(old)
    assert list(system.backend.store.check()) == []
    assert [name for name in system.names("slots") if "." in name] == []


def test_a_content_that_was_hidden_and_comes_to_light_is_fetched_again(tmp_path: Path) -> None:
    hidden, hiding = Tar().add("d/a", data=SOME).data, Tar().add("d/a", data=b"above").data
    system = running(tmp_path, [*os_layers("1"), hidden, hiding])
    tree = staged(system, [*os_layers("1"), hidden, NEW])
    assert system.streams.opened == digests([NEW, hidden, NEW])
    assert (tree / "d/a").read_bytes() == SOME


def test_what_stays_hidden_is_not_fetched(tmp_path: Path) -> None:
    layers = [*os_layers("1"), Tar().add("d/a", data=SOME).hardlink("d/b", "d/a").data, Tar().whiteout("d/a").data]
    layers.append(Tar().add("d/b", data=b"above").data)
    system = running(tmp_path, layers)
    tree = staged(system, [*layers, NEW])
    assert system.streams.opened == digests([NEW])
    assert actual(tree) == expected([*layers, NEW])


def spoil_file(slot: Path) -> None:
    path = slot / "tree/d/a"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def lose_file(slot: Path) -> None:
    for name in "ac":
        (slot / "tree/d" / name).unlink()


def replace_file(slot: Path) -> None:
    (slot / "tree/d/b").unlink()
    (slot / "tree/d/b").symlink_to("a")


def spoil_index(slot: Path) -> None:
    path = slot / "layers" / digest_of(SHARED).hex
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_index(slot: Path) -> None:
    path = slot / "layers" / digest_of(SHARED).hex
    os.truncate(path, path.stat().st_size - 3)


@pytest.mark.parametrize("damage", [spoil_file, lose_file, replace_file, spoil_index, cut_index])
def test_damage_to_a_slot_does_not_pass_to_the_next_one(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """The layer is fetched once more."""
    old = [*os_layers("1"), SHARED]
    system = running(tmp_path, old)
    damage(slot(system))
    tree = staged(system, [*old, NEW])
    assert {*system.streams.opened} == {*digests([SHARED, NEW])}
    assert actual(tree) == expected([*old, NEW])
    assert [name for name in system.names("slots") if "." in name] == []


@pytest.mark.parametrize("share", ["reflink", "hardlink", "none"])
def test_slots_share_files_only_if_they_are_told_to(
    tmp_path: Path, share: Literal["reflink", "hardlink", "none"]
) -> None:
    old = [*os_layers("1"), SHARED]
    system = running(tmp_path, old, DirimageOptions(share=share))
    tree = staged(system, [*old, NEW])
    assert [(tree / name).samefile(slot(system) / "tree" / name) for name in ("d/a", "d/b", "d/c")] == [
        share == "hardlink"
    ] * 3
    assert actual(tree) == expected([*old, NEW])


def test_an_interrupted_import_goes_on_from_what_it_left(tmp_path: Path) -> None:
    """Also the next one, of an image that has only a part of the layers."""
    old, large = os_layers("1"), [Tar().add(f"large{number}", data=SOME + b"%d" % number).data for number in range(3)]
    system = running(tmp_path, old)
    source = Registry([*old, *large], "2")
    for wanted in (1, 2):
        system.streams = Streams([*old, *large[:wanted]])
        with pytest.raises(KeyError):
            system.transaction().upgrade(source, REFERENCE)
        assert [name for name in system.names("slots") if name.endswith(".partial")]
        missing = [layer.diff_id for layer in system.backend.store.missing(source.image)]
        assert missing == digests(large[wanted:])
    tree = staged(system, [*old, *large[:1], large[2], NEW])
    assert system.streams.opened == digests([large[2], NEW])
    assert actual(tree) == expected([*old, *large[:1], large[2], NEW])
    assert [name for name in system.names("slots") if "." in name] == []


def test_what_an_interrupted_import_left_makes_way_if_there_is_no_room_for_both(tmp_path: Path) -> None:
    """What was kept of it is read once more."""
    old, large, last = os_layers("1"), Tar().add("large", data=os.urandom(18 * MIB)).data, NEW
    with mounted(make_disk(tmp_path / "disk", 36 * MIB), tmp_path / "mount") as folder:
        system = running(folder, old)
        source = Registry([*old, large, last], "2")
        system.streams = Streams([*old, large])
        with pytest.raises(KeyError):
            system.transaction().upgrade(source, REFERENCE)
        assert system.backend.store.missing(source.image) == source.image.layers[-1:]
        tree = staged(system, [*old, large, last])
        assert system.streams.opened == digests([large, last])
        assert actual(tree) == expected([*old, large, last])
        assert [name for name in system.names("slots") if "." in name] == []
