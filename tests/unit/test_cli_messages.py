"""What commands say about their outcome, and what they leave for others in /run."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from attrs import evolve

from bootc.cli import reboot
from bootc.cli.following import anchored, followed
from bootc.cli.messages import check_lines, downloaded_lines, rollback_lines, update_lines
from bootc.deployment import BootEntry, Deployment, DeploymentId, KernelArguments, Slots
from bootc.durable import DirectoryVolume
from bootc.errors import DeploymentError
from bootc.image import Digest, Image, ImageReference, ImportedImage, canonical_json
from bootc.machine import Machine
from bootc.partial.prediction import LayerPrediction, Method, Prediction
from bootc.state import Failure, FailureKind
from bootc.updates import Change, Check, Update

REFERENCE = ImageReference.of("reg.example/os:stable")
SIGNED = evolve(REFERENCE, signature="containerPolicy")
OLD, NEW = (Digest.parse(f"sha256:{digit * 64}") for digit in "ab")


def documents(version: str | None, *layers: tuple[str, int]) -> tuple[bytes, bytes]:
    listed = [{"digest": f"sha256:{digit * 64}", "size": size} for digit, size in layers]
    labels = {"version": version} if version else {}
    return canonical_json({"layers": listed}).encode(), canonical_json({"config": {"Labels": labels}}).encode()


def imported(digest: Digest, version: str | None, *layers: tuple[str, int]) -> ImportedImage:
    return ImportedImage(digest, *documents(version, *layers), key="key")


def fetched(digest: Digest, version: str | None, *layers: tuple[str, int]) -> Image:
    manifest, config = documents(version, *layers)
    return Image(digest, manifest, config, reference=REFERENCE, top_digest=None, layers=(), verdict="accepted")


def deployment(image: ImportedImage | None, **more: Any) -> Deployment:
    identity = DeploymentId(str(image.digest.short if image else "plain"))
    entry = BootEntry(identity, "os", "1", PurePosixPath("vmlinuz"), (), KernelArguments())
    reference = more.pop("reference", REFERENCE)
    return Deployment(identity, "default", image, reference, KernelArguments(), None, entry, **more)


BEFORE = imported(OLD, "1", ("c", 1000), ("d", 2000))
AFTER = imported(NEW, "2", ("c", 1000), ("e", 3_000_000))
STAGED = deployment(AFTER, is_staged=True)
DIFFERENCE = [
    "Total new layers: 2     Size: 3.0 MB",
    "Removed layers:   1     Size: 2.0 kB",
    "Added layers:     1     Size: 3.0 MB",
]

FAILURE = Failure(
    FailureKind.BOOT, DeploymentId("b.0"), NEW, REFERENCE, "none of 3 boots was completed", "2026-01-02T03:04:05Z"
)

UPDATES = {
    "failed before": (
        Update(Change.FAILED_BEFORE, REFERENCE, failure=FAILURE),
        [
            "Not staged: reg.example/os:stable failed to boot here before",
            f"  Digest: {NEW}",
            "  Why: failed to boot, 2026-01-02T03:04:05Z: none of 3 boots was completed",
            "A newer image will be staged again; --retry-failed stages this one.",
        ],
    ),
    "nothing new": (Update(Change.NONE, REFERENCE), ["No update available."]),
    "staged before": (
        Update(Change.STAGED_BEFORE, REFERENCE, STAGED),
        ["Staged update present, not changed"],
    ),
    "locked": (
        Update(Change.LOCKED, REFERENCE, STAGED),
        ["Image downloaded, but will not be applied on reboot"],
    ),
    "unlocked": (Update(Change.UNLOCKED, REFERENCE, STAGED), ["Staged deployment will now be applied on reboot"]),
    "followed already": (Update(Change.UNCHANGED_REFERENCE, REFERENCE), ["Image specification is unchanged."]),
    "staged": (
        Update(Change.STAGED, REFERENCE, STAGED, BEFORE),
        ["Queued for next boot: reg.example/os:stable", "  Version: 2", f"  Digest: {NEW}", *DIFFERENCE],
    ),
    "staged, not to be applied": (
        Update(Change.STAGED, REFERENCE, evolve(STAGED, is_locked=True), BEFORE),
        [
            "Queued for next boot: reg.example/os:stable",
            "  Version: 2",
            f"  Digest: {NEW}",
            *DIFFERENCE,
            "Image downloaded, but will not be applied on reboot",
        ],
    ),
    "staged, signed, without a version": (
        Update(Change.STAGED, SIGNED, deployment(imported(NEW, None), is_staged=True), None),
        [
            "Queued for next boot: ostree-image-signed:docker://reg.example/os:stable",
            f"  Digest: {NEW}",
            "Total new layers: 0     Size: 0 bytes",
            "Removed layers:   0     Size: 0 bytes",
            "Added layers:     0     Size: 0 bytes",
        ],
    ),
    "a sysroot at rest": (
        Update(Change.DEPLOYED, REFERENCE, deployment(AFTER), BEFORE),
        [
            "Deployed: reg.example/os:stable",
            "  Version: 2",
            f"  Digest: {NEW}",
            *DIFFERENCE,
            "This sysroot is not booted: the new deployment is its default now.",
        ],
    ),
}


@pytest.mark.parametrize(("update", "lines"), UPDATES.values(), ids=UPDATES)
def test_upgrade_and_switch(update: Update, lines: list[str]) -> None:
    assert update_lines(update) == lines


def test_every_change_is_covered() -> None:
    assert {update.change for update, _ in UPDATES.values()} == set(Change)


def test_check() -> None:
    assert check_lines(Check(REFERENCE, None, BEFORE)) == ["No changes in: reg.example/os:stable"]
    assert check_lines(Check(REFERENCE, fetched(NEW, "2", ("c", 1000), ("e", 3_000_000)), BEFORE)) == [
        "Update available for: reg.example/os:stable",
        "  Version: 2",
        f"  Digest: {NEW}",
        *DIFFERENCE,
    ]


def test_check_tells_what_an_upgrade_costs() -> None:
    news = fetched(NEW, None, ("c", 1000), ("e", 3_000_000))
    whole = LayerPrediction(NEW, Method.WHOLE, 3_000_000, 3_000_000, 1)
    parts = LayerPrediction(NEW, Method.PARTS, 3_000_000, 25_000, 4)
    begun = LayerPrediction(NEW, Method.WHOLE, 3_000_000, 1_000_000, 1)
    told = [
        check_lines(Check(REFERENCE, news, BEFORE, None, Prediction(layers)))[-1]
        for layers in ((), (whole,), (whole, parts), (whole, begun))
    ]
    assert told == [
        "To be fetched:    0     Size: 0 bytes",
        "To be fetched:    1     Size: 3.0 MB",
        "To be fetched:    2     Size: 3.0 MB (in parts; 3.0 MB less)",
        "To be fetched:    2     Size: 4.0 MB (continued; 2.0 MB less)",
    ]


def test_check_says_that_the_new_image_failed_before() -> None:
    found = check_lines(Check(REFERENCE, fetched(NEW, "2"), BEFORE, FAILURE))
    assert found[3] == "  Not staged again: failed to boot, 2026-01-02T03:04:05Z: none of 3 boots was completed"


def test_from_downloaded() -> None:
    staged, unlocked = Update(Change.STAGED_BEFORE, REFERENCE), Update(Change.UNLOCKED, REFERENCE)
    assert downloaded_lines(staged) == ["Staged deployment is already set to apply on reboot"]
    assert downloaded_lines(unlocked) == ["Staged deployment will now be applied on reboot"]


def test_rollback() -> None:
    assert rollback_lines(is_undo=False) == ["Next boot: rollback deployment"]
    assert rollback_lines(is_undo=True) == [
        "notice: Reverting queued rollback state",
        "Next boot: current deployment",
    ]


# ---------------------------------------------------------------- what an upgrade follows


BOOTED = deployment(BEFORE, is_booted=True)
OTHER = ImageReference.of("reg.example/other:1")


@pytest.mark.parametrize(
    ("deployments", "tag", "expected"),
    [
        ((BOOTED,), None, REFERENCE),
        ((evolve(STAGED, reference=OTHER), BOOTED), None, OTHER),
        ((BOOTED,), "next", ImageReference.of("reg.example/os:next")),
        ((deployment(AFTER, reference=OTHER), deployment(BEFORE)), None, OTHER),
        ((deployment(AFTER, reference=OTHER), BOOTED), None, REFERENCE),
    ],
    ids=["booted", "staged", "another tag", "default of a sysroot at rest", "booted, though not the default"],
)
def test_what_an_upgrade_follows(
    deployments: tuple[Deployment, ...], tag: str | None, expected: ImageReference
) -> None:
    assert followed(deployments, tag) == expected


@pytest.mark.parametrize(
    ("deployments", "tag", "message"),
    [
        ((), None, "No image source specified"),
        ((deployment(None, reference=None, is_booted=True),), None, "No image source specified"),
        (
            (deployment(None, reference=None, is_booted=True),),
            "next",
            "--tag requires a booted image with a specified source",
        ),
        (
            (evolve(BOOTED, is_incompatible=True),),
            None,
            "Deployment contains local rpm-ostree modifications; cannot upgrade via bootc."
            " You can run `rpm-ostree reset` to undo the modifications.",
        ),
    ],
    ids=["nothing", "no image", "tag of no image", "local changes"],
)
def test_nothing_to_follow(deployments: tuple[Deployment, ...], tag: str | None, message: str) -> None:
    with pytest.raises(DeploymentError) as caught:
        followed(deployments, tag)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("text", "recorded"),
    [
        ("docker://reg.example/os:1", "docker://reg.example/os:1"),
        ("containers-storage:localhost/os:1", "containers-storage:localhost/os:1"),
        ("oci:os", "oci:{here}/os"),
        ("oci:os:stable", "oci:{here}/os:stable"),
        ("oci-archive:usb/os.tar:stable:x", "oci-archive:{here}/usb/os.tar:stable:x"),
        ("docker-archive:os.tar:localhost/os:1", "docker-archive:{here}/os.tar:localhost/os:1"),
        ("dir:a:b", "dir:{here}/a:b"),
        ("oci:/media/usb/os:stable", "oci:/media/usb/os:stable"),
    ],
)
def test_files_are_followed_by_their_whole_path(
    text: str, recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(anchored(ImageReference.parse(text))) == recorded.format(here=tmp_path)


# ---------------------------------------------------------------- /run/reboot-required


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    run = tmp_path / "run"
    run.mkdir()
    return Machine(DirectoryVolume(tmp_path), PurePosixPath("state"), run)


def required(machine: Machine) -> str | None:
    path = (machine.run or Path()) / "reboot-required"
    return path.read_text() if path.exists() else None


REQUIRED = f"bootc: Reboot required for image: {NEW}"


@pytest.mark.parametrize(
    ("before", "update", "after"),
    [
        (None, Update(Change.STAGED, REFERENCE, STAGED), REQUIRED),
        (None, Update(Change.UNLOCKED, REFERENCE, evolve(STAGED, is_locked=True)), REQUIRED),
        (REQUIRED, Update(Change.NONE, REFERENCE, BOOTED), REQUIRED),
        (REQUIRED, Update(Change.STAGED_BEFORE, REFERENCE, STAGED), REQUIRED),
        (REQUIRED, Update(Change.LOCKED, REFERENCE, STAGED), None),
        (REQUIRED, Update(Change.STAGED, REFERENCE, evolve(STAGED, is_locked=True)), None),
        (None, Update(Change.STAGED, REFERENCE, evolve(STAGED, is_locked=True)), None),
    ],
    ids=["staged", "unlocked", "nothing new", "staged before", "locked", "replaced by a download", "downloaded"],
)
def test_what_the_next_reboot_applies_requires_one(
    machine: Machine, before: str | None, update: Update, after: str | None
) -> None:
    assert machine.run is not None
    if before:
        (machine.run / "reboot-required").write_text(before)
    reboot.announce(machine, update)
    assert required(machine) == after


def test_a_rollback_requires_a_reboot_and_its_undo_does_not(machine: Machine) -> None:
    slots = Slots.of((deployment(AFTER), BOOTED))
    reboot.announce_rollback(machine, slots, is_undo=False)
    assert required(machine) == f"bootc: Reboot required for image: {NEW}"
    reboot.announce_rollback(machine, slots, is_undo=True)
    assert required(machine) is None


def test_what_others_require_stays(machine: Machine) -> None:
    assert machine.run is not None
    (machine.run / "reboot-required").write_text("*** System restart required ***\n")
    reboot.announce_rollback(machine, Slots.of((BOOTED, deployment(AFTER))), is_undo=True)
    assert required(machine) == "*** System restart required ***\n"


def test_a_sysroot_at_rest_concerns_nobody(tmp_path: Path) -> None:
    machine = Machine(DirectoryVolume(tmp_path), PurePosixPath("state"))
    reboot.announce(machine, Update(Change.STAGED, REFERENCE, STAGED))
    assert list(tmp_path.iterdir()) == []
