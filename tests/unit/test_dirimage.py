"""Which deployments of the dirimage backend make way for a new one, and what its options and records accept."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve
from bootc_dirimage import bootc_storage_backends, retention
from bootc_dirimage.layout import LAYOUT
from bootc_dirimage.options import DirimageOptions
from bootc_dirimage.records import SlotRecord

from bootc.deployment import DeploymentId, KernelArguments
from bootc.durable import DirectoryVolume
from bootc.errors import StateError
from bootc.image import Digest, ImageReference, ImportedImage
from bootc.roots.layout import discard, name_of, number_of, whole
from bootc.roots.records import DeploymentRecord, RootState
from bootc.roots.retention import after_finalizing
from bootc.roots.sysroot import View

DIGEST = Digest("sha256", "ab" * 32)


def record(id: str, *, slot: str | None = None, stateroot: str = "default") -> DeploymentRecord:
    return DeploymentRecord(
        id=DeploymentId(id),
        stateroot=stateroot,
        image=slot or id,
        reference=ImageReference.of("registry.example/os:1"),
        arguments=KernelArguments(("quiet",)),
        own_arguments=(),
        merge_from=None,
        title="System",
        version="1",
        kernel=PurePosixPath("vmlinuz"),
        initramfs=PurePosixPath("initramfs.img"),
        boot_digest=DIGEST,
    )


def view(order: str, booted: str | None = "a", pinned: str = "", staged: str | None = None) -> View:
    """One letter for each deployment; a capital one shares the slot of the small one."""
    records = tuple(record(letter, slot=letter.lower()) for letter in order)
    return View(
        records,
        frozenset(map(DeploymentId, pinned)),
        DeploymentId(booted) if booted else None,
        record(staged) if staged else None,
        False,
    )


@pytest.mark.parametrize(
    ("present", "slots", "gone"),
    [
        (view(""), 2, ""),
        (view("a"), 2, ""),
        (view("ab"), 2, "b"),
        (view("ba"), 2, "b"),
        (view("ab", booted=None), 2, "b"),
        (view("ab", pinned="b"), 2, None),
        (view("aA"), 2, ""),
        (view("aBb"), 2, "Bb"),
        (view("ab"), 3, ""),
        (view("abc"), 3, "c"),
        (view("bac"), 3, "c"),
        (view("abc", pinned="c"), 3, None),
        (view("abcd", pinned="d"), 4, "c"),
    ],
    ids=lambda value: "".join(r.id for r in value.order) if isinstance(value, View) else str(value),
)
def test_what_is_in_the_way_of_an_import(present: View, slots: int, gone: str | None) -> None:
    assert retention.in_the_way(present, slots) == (None if gone is None else frozenset(gone))


@pytest.mark.parametrize(
    ("present", "kept"),
    [
        (view("ab"), "a"),
        (view("ba"), "a"),
        (view("abc", pinned="c"), "ac"),
        (view("ab", booted=None), "a"),
        (view(""), ""),
    ],
)
def test_what_stays_behind_a_new_default(present: View, kept: str) -> None:
    assert after_finalizing(present, "default") == tuple(kept)


def test_other_stateroots_stay() -> None:
    other = evolve(view("ab"), order=(record("a"), record("b"), record("x", stateroot="other")))
    assert after_finalizing(other, "default") == ("a", "x")
    assert after_finalizing(other, "other") == ("a", "b", "x")


def test_what_a_finalization_leaves_out_is_expendable_unless_it_is_locked() -> None:
    staged = view("ab", staged="c")
    assert retention.expendable(staged, 9) == {"b"}
    assert retention.expendable(evolve(staged, is_locked=True), 9) == frozenset()
    assert retention.expendable(view("ab"), 9) == frozenset()
    assert retention.expendable(view("ab"), 2) == {"b"}


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    volume = DirectoryVolume(tmp_path)
    state = RootState(7, (DeploymentId("2-x"), DeploymentId("1-x")), frozenset({DeploymentId("1-x")}))
    state.write(volume, LAYOUT)
    assert RootState.read(volume, LAYOUT) == state
    deployment = evolve(record("3-abc"), merge_from=DeploymentId("2-x"))
    deployment.write(volume, PurePosixPath("dirimage/deployments/3-abc"))
    assert DeploymentRecord.read(volume, LAYOUT, deployment.id) == deployment
    slot = SlotRecord(ImportedImage(DIGEST, b'{"not UTF-8": "\xff"}', b"{}", key="4-abc"), (DIGEST,))
    slot.write(volume, PurePosixPath("dirimage/slots/4-abc"))
    assert SlotRecord.read(volume, "4-abc") == slot


def test_a_state_keeps_what_a_newer_version_added_and_is_not_written_where_that_forbids_it(tmp_path: Path) -> None:
    volume = DirectoryVolume(tmp_path)
    volume.make_directories(LAYOUT.state.parent)
    volume.replace(LAYOUT.state, b'{"number": 1, "order": [], "later": "kept"}')
    RootState(2).write(volume, LAYOUT)
    assert b'"later": "kept"' in volume.read(LAYOUT.state)
    volume.replace(LAYOUT.state, b'{"number": 1, "order": [], "format": {"read-only-compatible": ["new"]}}')
    assert RootState.read(volume, LAYOUT) == RootState(1)
    with pytest.raises(StateError, match="does not know: new"):
        RootState(2).write(volume, LAYOUT)


def test_names_hold_their_number() -> None:
    assert number_of(name_of(12, DIGEST)) == 12
    assert [number_of(name) for name in ("12-abababababab.partial", "x-abababababab", "0-abababababab", "lost")] == [
        None
    ] * 4


def test_what_is_discarded_is_not_whole_from_the_first_step_on(tmp_path: Path) -> None:
    names = []

    def observe(step: object) -> None:
        names.append(whole(DirectoryVolume(tmp_path), PurePosixPath("slots")))

    volume = DirectoryVolume(tmp_path, observer=observe)
    (tmp_path / "slots" / name_of(1, DIGEST) / "tree").mkdir(parents=True)
    discard(volume, PurePosixPath("slots", name_of(1, DIGEST)))
    assert names[0] == (name_of(1, DIGEST),)
    assert set(names[1:]) == {()}
    assert list((tmp_path / "slots").iterdir()) == []


@pytest.mark.parametrize("slots", [0, 1, 101])
def test_the_number_of_slots_is_checked(slots: int) -> None:
    with pytest.raises(ValueError):
        DirimageOptions(slots=slots)


def test_the_record_probes_its_own_sysroots_only(tmp_path: Path) -> None:
    (plugin,) = bootc_storage_backends()
    volume = DirectoryVolume(tmp_path)
    assert plugin.probe(volume) is False
    RootState().write(volume, LAYOUT)
    assert plugin.probe(volume) is True
