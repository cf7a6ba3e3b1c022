"""The core's records on a sysroot: what is read back, and what damaged or newer ones lead to."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from bootc.deployment import BootEntry, Deployment, DeploymentId, KernelArguments
from bootc.durable import DirectoryVolume
from bootc.errors import StateError
from bootc.image import Digest, Image, ImageReference, ImageSummary, parse_time
from bootc.machine import Firmware, Machine
from bootc.state import Boots, Failure, FailureKind, Features, State, System, find_system
from bootc.state.boots import Note, Record

DIRECTORY = PurePosixPath("ostree/bootc")
SYSTEM = System(
    backend="ostree",
    bootloader="grub",
    firmware=frozenset({Firmware.UEFI, Firmware.BIOS}),
    stateroot="default",
    created="2026-01-02T03:04:05Z",
    version="0.1.0",
)
REFERENCE = ImageReference.of("example.com/os:1")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def digest(number: int) -> Digest:
    return Digest("sha256", f"{number:064x}")


def image(number: int, reference: ImageReference = REFERENCE, **changes: Any) -> Image:
    made = Image(
        digest(number),
        b'{"layers": []}',
        b'{"architecture": "amd64"}',
        reference=reference,
        top_digest=digest(number + 1),
        layers=(),
        verdict="",
    )
    return evolve(made, **changes)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(DirectoryVolume(tmp_path), DIRECTORY)


def put(state: State, name: str, content: object) -> None:
    """Write a record as another program would."""
    path = state.sysroot.path(state.directory / name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


# ---------------------------------------------------------------- system.json


def test_a_system_is_read_back_as_it_was_written(state: State) -> None:
    state.write_system(SYSTEM)

    assert state.system() == SYSTEM


def test_the_file_is_what_is_documented(state: State) -> None:
    state.write_system(SYSTEM)

    assert json.loads(state.sysroot.read(DIRECTORY / "system.json")) == {
        "format": {"compatible": [], "read-only-compatible": [], "incompatible": []},
        "backend": "ostree",
        "bootloader": "grub",
        "firmware": ["bios", "uefi"],
        "stateroot": "default",
        "created": "2026-01-02T03:04:05Z",
        "version": "0.1.0",
    }


def test_a_new_record_says_when_and_by_which_version() -> None:
    from bootc import __version__

    made = System(backend="x", bootloader="y", firmware=frozenset(), stateroot="z")

    assert made.version == __version__
    assert parse_time(made.created) is not None


def test_without_a_record_there_is_no_system(state: State) -> None:
    assert state.system() is None


def document(**changes: object) -> dict[str, object]:
    base: dict[str, object] = {"backend": "x", "bootloader": "y", "firmware": ["uefi"], "stateroot": "z"}
    return {**base, "created": "2026-01-02T03:04:05Z", "version": "0.1.0", "format": {}, **changes}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "damaged: ", id="empty"),
        pytest.param(b'{"backend": "ost', "damaged: ", id="truncated"),
        pytest.param(b"\0" * 512, "damaged: ", id="zeros"),
        pytest.param(b"\xff\xfe{}", "damaged: ", id="not UTF-8"),
        pytest.param(b"[" * 100_000, "damaged: ", id="deep"),
        pytest.param([], "damaged: not a JSON object", id="list"),
        pytest.param({}, "damaged: 'backend' is not a text", id="foreign"),
        pytest.param(document(backend=3), "damaged: 'backend' is not a text", id="type"),
        pytest.param(document(backend=""), "damaged: 'backend' is not a text", id="empty text"),
        pytest.param(document(firmware="uefi"), "damaged: 'firmware' is not a list of texts", id="firmware"),
        pytest.param(document(firmware=["coreboot"]), "unknown firmware: ", id="unknown firmware"),
        pytest.param(document(format=[]), "damaged: 'format' is not an object", id="format"),
        pytest.param(document(format={"incompatible": [1]}), "damaged: 'incompatible' is not a list", id="features"),
    ],
)
def test_a_damaged_record_is_named(state: State, content: object, problem: str) -> None:
    put(state, "system.json", content)

    with pytest.raises(StateError) as caught:
        state.system()

    assert caught.value.path == "ostree/bootc/system.json"
    assert caught.value.problem.startswith(problem)


def test_a_huge_record_is_not_read(state: State) -> None:
    put(state, "system.json", b"{}")
    os.truncate(state.sysroot.path(DIRECTORY / "system.json"), (64 << 20) + 1)

    with pytest.raises(StateError, match="larger than"):
        state.system()


@given(JSON)
@settings(deadline=None)  # it waits for disks
def test_no_json_document_leads_to_anything_but_a_system_or_a_state_error(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    state = State(DirectoryVolume(tmp_path_factory.mktemp("sysroot")), DIRECTORY)
    put(state, "system.json", content)
    put(state, "references.json", content)

    for read in (state.system, lambda: state.references.get(REFERENCE)):
        try:
            found = read()
        except StateError:
            continue
        assert found is None


@given(st.binary(max_size=60))
@settings(deadline=None)  # it waits for disks
def test_no_bytes_lead_to_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    state = State(DirectoryVolume(tmp_path_factory.mktemp("sysroot")), DIRECTORY)
    put(state, "system.json", content)

    with pytest.raises(StateError):
        state.system()


@given(st.dictionaries(st.sampled_from(list(document())), JSON, max_size=3))
@settings(deadline=None)  # it waits for disks
def test_wrong_fields_are_a_state_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object]
) -> None:
    state = State(DirectoryVolume(tmp_path_factory.mktemp("sysroot")), DIRECTORY)
    put(state, "system.json", document(**changes))

    try:
        found = state.system()
    except StateError:
        return
    assert found is not None
    assert found.backend == changes.get("backend", "x")


# ---------------------------------------------------------------- formats


def test_unknown_compatible_features_are_kept_and_do_no_harm(state: State) -> None:
    put(state, "system.json", document(format={"compatible": ["glitter"]}, colour="blue"))
    found = state.system()

    assert found is not None
    assert (found.features, found.unknown) == (Features(compatible=("glitter",)), {"colour": "blue"})
    state.write_system(evolve(found, bootloader="other"))
    assert json.loads(state.sysroot.read(DIRECTORY / "system.json")) == document(
        format={"compatible": ["glitter"], "read-only-compatible": [], "incompatible": []},
        colour="blue",
        bootloader="other",
    )


def test_unknown_read_only_compatible_features_forbid_writing(state: State) -> None:
    put(state, "system.json", document(format={"read-only-compatible": ["b", "a"]}))

    assert state.system() is not None
    for write in (state.check_writable, lambda: state.write_system(SYSTEM), lambda: state.references.record(image(1))):
        with pytest.raises(StateError, match="can read but not write: a, b") as caught:
            write()
        assert caught.value.hint == "use the newer version of bootc that wrote it"
    assert state.sysroot.names(DIRECTORY) == ("system.json",)


def test_unknown_incompatible_features_forbid_everything(state: State) -> None:
    put(state, "system.json", document(format={"incompatible": ["magic"]}))

    for use in (state.system, state.check_writable, lambda: state.references.record(image(1))):
        with pytest.raises(StateError, match="uses what this version does not know: magic") as caught:
            use()
        assert caught.value.hint == "use the newer version of bootc that wrote it"


# ---------------------------------------------------------------- finding a system


def test_the_record_is_found_in_the_directory_of_its_backend(state: State) -> None:
    other = PurePosixPath("composefs/bootc")
    state.write_system(SYSTEM)

    assert find_system(state.sysroot, [other, DIRECTORY, DIRECTORY]) == (DIRECTORY, SYSTEM)
    assert find_system(state.sysroot, [other]) is None
    assert find_system(state.sysroot, []) is None


def test_two_records_are_an_error_that_names_both(state: State) -> None:
    other = State(state.sysroot, PurePosixPath("composefs/bootc"))
    state.write_system(SYSTEM)
    other.write_system(evolve(SYSTEM, backend="composefs"))

    with pytest.raises(StateError) as caught:
        find_system(state.sysroot, [DIRECTORY, other.directory])

    assert caught.value.message == (
        "ostree/bootc/system.json, composefs/bootc/system.json: installed by ostree and composefs at once"
    )


def test_a_machine_knows_where_its_state_is(tmp_path: Path) -> None:
    machine = Machine(DirectoryVolume(tmp_path), DIRECTORY)

    assert State.of(machine) == State(machine.sysroot, DIRECTORY)
    assert State.of(machine).spool == PurePosixPath("ostree/bootc/spool")


# ---------------------------------------------------------------- references


def test_what_a_reference_pointed_to_is_remembered(state: State) -> None:
    state.references.record(image(1))
    found = state.references.get(REFERENCE)

    assert found is not None
    assert (found.top_digest, found.digest, found.update) == (
        digest(2),
        digest(1),
        ImageSummary(digest(1), b'{"layers": []}', b'{"architecture": "amd64"}'),
    )
    assert parse_time(found.time) is not None
    assert state.references.seen(REFERENCE) == (digest(2), digest(1))
    assert state.references.cached_update(REFERENCE) == found.update


def test_an_unknown_top_digest_stays_unknown(state: State) -> None:
    state.references.record(image(1, top_digest=None))

    assert state.references.seen(REFERENCE) == (None, digest(1))


def test_references_do_not_disturb_each_other(state: State) -> None:
    signed = ImageReference.of("example.com/os:1", signature="containerPolicy")
    state.references.record(image(1))
    state.references.record(image(5, signed))
    state.references.record(image(7))

    assert [state.references.seen(reference) for reference in (REFERENCE, signed)] == [
        (digest(8), digest(7)),
        (digest(6), digest(5)),
    ]
    state.references.retain([signed])
    assert state.references.get(REFERENCE) is None
    assert state.references.get(signed) is not None


def test_forgetting_nothing_writes_nothing(state: State) -> None:
    state.references.retain([])

    assert state.sysroot.names(DIRECTORY) == ()


def test_an_unseen_reference_has_no_record(state: State) -> None:
    references = state.references

    assert (references.get(REFERENCE), references.seen(REFERENCE), references.cached_update(REFERENCE)) == (None,) * 3


@given(st.binary(min_size=1), st.binary(min_size=1))
@settings(deadline=None)  # it waits for disks
def test_manifest_and_config_keep_every_byte(
    tmp_path_factory: pytest.TempPathFactory, manifest: bytes, config: bytes
) -> None:
    state = State(DirectoryVolume(tmp_path_factory.mktemp("sysroot")), DIRECTORY)
    state.references.record(image(1, manifest=manifest, config=config))

    assert state.references.cached_update(REFERENCE) == ImageSummary(digest(1), manifest, config)


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        [],
        {"references": []},
        {"references": {REFERENCE.origin: 3}},
        {"references": {REFERENCE.origin: {}}},
        {"references": {REFERENCE.origin: {"digest": "sha256:../../x", "time": "x"}}},
        {"references": {REFERENCE.origin: {"digest": str(digest(1)), "time": 1}}},
        {"references": {REFERENCE.origin: {"digest": str(digest(1)), "time": "x", "top-digest": 1}}},
        {"references": {REFERENCE.origin: {"digest": str(digest(1)), "time": "x", "update": []}}},
        {"references": {REFERENCE.origin: {"digest": str(digest(1)), "time": "x", "update": {"digest": "x"}}}},
    ],
)
def test_damaged_references_are_named_with_the_way_out(state: State, content: object) -> None:
    put(state, "references.json", content)

    with pytest.raises(StateError) as caught:
        state.references.get(REFERENCE)

    assert caught.value.path == "ostree/bootc/references.json"
    assert caught.value.hint == "it is a cache: remove the file, and the next `bootc upgrade` writes it anew"


def test_keys_of_a_newer_version_survive(state: State) -> None:
    put(state, "references.json", {"colour": "blue", "references": {"x": {"new": 1}}})
    state.references.record(image(1))

    written = json.loads(state.sysroot.read(DIRECTORY / "references.json"))
    assert (written["colour"], written["references"]["x"]) == ("blue", {"new": 1})


def test_touching_changes_the_time_of_the_directory(state: State) -> None:
    state.write_system(SYSTEM)
    path = state.sysroot.path(DIRECTORY)

    for touch in (state.touch, state.references.touch):
        os.utime(path, (1, 1))
        touch()
        assert path.stat().st_mtime > 1


# ---------------------------------------------------------------- boots


def failure(number: int, kind: FailureKind = FailureKind.BOOT) -> Failure:
    return Failure(kind, DeploymentId(f"d.{number}"), digest(number), REFERENCE, "no init", "2026-01-02T03:04:05Z")


RECORD = Record(DeploymentId("t.0"), Note(DeploymentId("t.0"), "failed: sshd.service"), (failure(1), failure(2)))


@pytest.fixture
def boots(tmp_path: Path) -> Boots:
    machine = Machine(DirectoryVolume(tmp_path), DIRECTORY)
    return State.of(machine).boots


def test_a_record_of_boots_reads_back_and_an_absent_one_is_empty(boots: Boots) -> None:
    assert boots.read() == Record()
    boots.write(RECORD)
    assert boots.read() == RECORD
    boots.write(Record())
    assert boots.read() == Record()


def test_an_equal_record_is_not_written(boots: Boots, tmp_path: Path) -> None:
    boots.write(Record())
    assert not (tmp_path / DIRECTORY / "boots.json").exists()


def test_what_a_newer_version_wrote_is_kept(boots: Boots, tmp_path: Path) -> None:
    path = tmp_path / DIRECTORY / "boots.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"later": 1}))
    boots.write(RECORD)
    assert json.loads(path.read_text())["later"] == 1


_WITHOUT_REASON = {"kind": "boot", "deployment": "d", "time": "t"}
DAMAGED = {
    "empty": "",
    "a list": "[]",
    "trial": '{"trial": 3}',
    "note": '{"note": 1}',
    "failures": '{"failures": 1}',
    "a failure": '{"failures": [1]}',
    "reason": json.dumps({"failures": [_WITHOUT_REASON]}),
    "kind": json.dumps({"failures": [{**_WITHOUT_REASON, "reason": "r", "kind": "other"}]}),
    "digest": json.dumps({"failures": [{**_WITHOUT_REASON, "reason": "r", "digest": "x"}]}),
    "image": json.dumps({"failures": [{**_WITHOUT_REASON, "reason": "r", "image": "x"}]}),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_of_boots_is_an_error_and_is_replaced(boots: Boots, tmp_path: Path, text: str) -> None:
    path = tmp_path / DIRECTORY / "boots.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(StateError, match=r"boots\.json: damaged"):
        boots.read()
    boots.write(RECORD)
    assert boots.read() == RECORD


@given(JSON)
def test_no_content_of_the_record_breaks_the_reader(document: Any) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(StateError):
        Path(folder, "boots.json").write_text(json.dumps(document))
        Boots(DirectoryVolume(Path(folder)), PurePosixPath(), lambda: None).read()


def test_few_failures_are_kept_one_for_each_deployment() -> None:
    record = Record()
    for number in range(20):
        record = record.with_failure(failure(number)).with_failure(failure(number))
    assert record.failures == tuple(map(failure, range(12, 20)))


def test_a_failure_ends_the_trial_and_a_complete_boot_ends_the_failures_of_what_it_follows() -> None:
    other = evolve(failure(3), reference=ImageReference.of("example.com/other:1"))
    record = Record(DeploymentId("d.2"), failures=(failure(1), other)).with_failure(failure(2))
    assert (record.trial, record.failure(digest(2))) == (None, failure(2))
    entry = BootEntry(DeploymentId("d.4"), "", "", PurePosixPath("k"), (), KernelArguments())
    good = Deployment(entry.deployment, "default", None, REFERENCE, KernelArguments(), None, entry)
    assert record.with_completed(good).failures == (failure(1), other, failure(2))
    assert record.with_trial(good.id, digest(4)).with_completed(good) == Record(failures=(other,))


def test_who_installs_a_failed_image_again_clears_its_record() -> None:
    record = Record(failures=(failure(1), failure(2), failure(2, FailureKind.FINALIZATION)))
    again = record.with_trial(DeploymentId("n.0"), digest(2))
    assert again == Record(DeploymentId("n.0"), None, (failure(1), failure(2, FailureKind.FINALIZATION)))
    assert again.with_finalized().failures == (failure(1),)
