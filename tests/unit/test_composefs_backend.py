"""What the composefs backend offers, and what its options and mount plans say."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from bootc_composefs import bootc_storage_backends
from bootc_composefs.options import ComposefsOptions

from bootc.hookspec import Capability
from bootc.system.initramfs import ComposefsRoot, MountPlan

DIGEST = "sha256-12:" + "ab" * 32
IMAGE, OBJECTS = PurePosixPath("composefs/objects/ab/cd"), PurePosixPath("composefs/objects")


def test_deployments_can_be_pinned_and_the_rollback_survives_staging() -> None:
    (plugin,) = bootc_storage_backends()
    assert plugin.capabilities_with(ComposefsOptions()) == {Capability.PIN, Capability.SPARE}
    assert plugin.state == PurePosixPath("composefs/bootc")


@pytest.mark.parametrize(
    ("is_verified", "argument", "word"),
    [(True, f"bootc.composefs={DIGEST}", "verified"), (False, f"bootc.composefs=?{DIGEST}", "unverified")],
)
def test_a_plan_says_which_image_and_whether_it_is_measured(is_verified: bool, argument: str, word: str) -> None:
    root = ComposefsRoot(IMAGE, OBJECTS, DIGEST, is_verified)
    assert root.argument == argument
    assert MountPlan(root, {PurePosixPath("etc"): PurePosixPath("here/etc")}).render().decode().splitlines() == [
        "bootc-mount-plan 2",
        f"composefs {IMAGE} {OBJECTS} {DIGEST} {word}",
        "bind here/etc etc",
    ]


@pytest.mark.parametrize("digest", ["", "ab" * 32, "sha256-12:", "sha256-12:" + "AB" * 32, "sha512-12:" + "ab" * 32])
def test_a_digest_in_another_form_is_in_no_plan(digest: str) -> None:
    with pytest.raises(ValueError, match="is no digest"):
        MountPlan(ComposefsRoot(IMAGE, OBJECTS, digest, True)).render()
