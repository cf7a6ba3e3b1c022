"""The text form of a Host document: every column of every case."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest
from attrs import evolve

from bootc.image import Digest, ImageReference, ImageSummary, canonical_json
from bootc.status import Explanation, layer_difference, parse_host, printable, size_text, status_text, sysroot_text
from tests.unit.status_documents import COMMIT_A, COMMIT_B, A, B, C, document, entry, image, ostree, reference


def text_of(host: dict[str, Any], *, verbose: bool = False) -> str:
    return status_text(parse_host(host), is_verbose=verbose)


def lines(text: str) -> str:
    return dedent(text).strip("\n").replace("|", "")


STAGED_AND_BOOTED = document(
    staged=entry(image(A, "nightly", "2023-10-14T19:22:15.123456789Z", image=reference(signature="insecure"))),
    booted=entry(image(B, "nightly", "2023-09-30T19:22:16Z"), ostree=ostree(COMMIT_B, 1)),
)
PLAIN_OSTREE = document(
    staged=entry(incompatible=True), booted=entry(ostree=ostree(COMMIT_B)), rollback=entry(pinned=True)
)

CASES = {
    "staged and booted": (
        STAGED_AND_BOOTED,
        f"""
        |  Staged image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |       Version: nightly (2023-10-14T19:22:15Z)
        |
        |● Booted image: reg.example/os:stable
        |        Digest: {B} (amd64)
        |       Version: nightly (2023-09-30T19:22:16Z)
        """,
    ),
    "plain ostree deployments": (
        PLAIN_OSTREE,
        f"""
        |  Staged ostree
        |         Commit: {COMMIT_A}
        |
        |● Booted ostree
        |           Commit: {COMMIT_B}
        |
        |  Rollback ostree
        |           Commit: {COMMIT_A}
        |           Pinned: yes
        """,
    ),
    "an image over plain ostree": (
        document(staged=entry(image(architecture="s390x", version="42")), booted=entry()),
        f"""
        |  Staged image: reg.example/os:stable
        |        Digest: {A} (s390x)
        |       Version: 42
        |
        |● Booted ostree
        |           Commit: {COMMIT_A}
        """,
    ),
    "only booted, a time without a version": (
        document(booted=entry(image(timestamp="2026-01-02T04:04:05+01:00"))),
        f"""
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |     Timestamp: 2026-01-02T03:04:05Z
        """,
    ),
    "nothing booted": (
        document(staged=entry(image()), rollback=entry(image())),
        "|System is not deployed via bootc.",
    ),
    "another transport": (
        document(booted=entry(image(image=reference("/var/mnt/osupdate", "oci")))),
        f"""
        |● Booted image: oci:/var/mnt/osupdate
        |        Digest: {A} (amd64)
        """,
    ),
    "after a fall-back": (
        document(
            booted=entry(image(version="1")),
            failedDeployments=[
                {
                    "kind": "boot",
                    "deployment": "b.0",
                    "image": reference(),
                    "imageDigest": B,
                    "reason": "no\x1b init",
                    "time": "2026-01-02T03:04:05Z",
                },
                {"kind": "finalization", "deployment": "c.0", "reason": "no space", "time": "2026-01-01T00:00:00.5Z"},
            ],
        ),
        f"""
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |       Version: 1
        |
        |  Failed image: reg.example/os:stable
        |        Digest: {B}
        |           Why: failed to boot, 2026-01-02T03:04:05Z: no\\x1b init
        |
        |  Failed deployment: c.0
        |                Why: not made the default, 2026-01-01T00:00:00Z: no space
        """,
    ),
    "pinned, with others": (
        document(
            booted=entry(image(version="2"), pinned=True),
            rollback=entry(image(B, "1")),
            otherDeployments=[entry(image(C, "0"), pinned=True), entry(ostree=ostree(COMMIT_B))],
        ),
        f"""
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |       Version: 2
        |        Pinned: yes
        |
        |  Rollback image: reg.example/os:stable
        |          Digest: {B} (amd64)
        |         Version: 1
        |
        |   Other image: reg.example/os:stable
        |        Digest: {C} (amd64)
        |       Version: 0
        |        Pinned: yes
        |
        | Other ostree
        |       Commit: {COMMIT_B}
        """,
    ),
    "an overlay on /usr": (
        document(booted=entry(image()), usrOverlay={"accessMode": "readWrite", "persistence": "transient"}),
        f"""
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |  /usr overlay: transient, read/write
        """,
    ),
    "a known update": (
        document(booted=entry(image(version="1"), cachedUpdate=image(B, "stream9.20240901.0", "2024-09-01T12:00:00Z"))),
        f"""
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |       Version: 1
        | UpdateVersion: stream9.20240901.0 (2024-09-01T12:00:00Z)
        |  UpdateDigest: {B}
        """,
    ),
    "a known update without a version": (
        document(booted=entry(image(version="1"), cachedUpdate=image(B, None, "2024-09-01T12:00:00Z"))),
        f"""
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |       Version: 1
        |        Update: Available
        |  UpdateDigest: {B}
        """,
    ),
    "the known update is what runs": (
        document(booted=entry(image(version="1"), cachedUpdate=image(A, "1"))),
        f"""
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |       Version: 1
        """,
    ),
    "composefs": (
        document(
            booted=entry(image(), ostree=None, composefs={"verity": "ee" * 64}),
            rollback=entry(ostree=None, composefs={"verity": "dd" * 64}),
            otherDeployments=[entry(ostree=None, composefs={"verity": "cc" * 64})],
        ),
        f"""
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |        Verity: {"ee" * 64}
        |
        |  Rollback composefs
        |              Commit: {"dd" * 64}
        """,
    ),
    "of an unknown kind": (
        document(booted=entry(image()), staged=entry(ostree=None)),
        f"""
        |Current staged state is unknown
        |
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        """,
    ),
    "values that would steer the terminal": (
        document(booted=entry(image(version="1\x1b[2J\n\u202e", image=reference("reg.example/\x9b31mos")))),
        f"""
        |● Booted image: reg.example/\\x9b31mos
        |        Digest: {A} (amd64)
        |       Version: 1\\x1b[2J\\n\\u202e
        """,
    ),
}


@pytest.mark.parametrize(("host", "expected"), CASES.values(), ids=CASES)
def test_plain_text(host: dict[str, Any], expected: str) -> None:
    assert text_of(host) == lines(expected)


VERBOSE = {
    "staged and booted": (
        STAGED_AND_BOOTED,
        f"""
        |  Staged image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |       Version: nightly (2023-10-14T19:22:15Z)
        |     StateRoot: default
        | Deploy serial: 0
        |        Staged: yes
        |        Commit: {COMMIT_A}
        |     Signature: insecure
        |   Soft-reboot: no
        | Download-only: no
        |
        |● Booted image: reg.example/os:stable
        |        Digest: {B} (amd64)
        |       Version: nightly (2023-09-30T19:22:16Z)
        |     StateRoot: default
        | Deploy serial: 1
        |        Staged: no
        |        Commit: {COMMIT_B}
        |   Soft-reboot: no
        """,
    ),
    "download-only and signatures": (
        document(
            staged=entry(image(image=reference(signature="containerPolicy")), downloadOnly=True),
            booted=entry(image(image=reference(signature={"ostreeRemote": "fleet"})), softRebootCapable=True),
        ),
        f"""
        |  Staged image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |     StateRoot: default
        | Deploy serial: 0
        |        Staged: yes
        |        Commit: {COMMIT_A}
        |     Signature: container-policy
        |   Soft-reboot: no
        | Download-only: yes
        |
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |     StateRoot: default
        | Deploy serial: 0
        |        Staged: no
        |        Commit: {COMMIT_A}
        |     Signature: ostree-remote:fleet
        |   Soft-reboot: yes
        """,
    ),
    "plain ostree": (
        document(staged=entry(), booted=entry(pinned=True)),
        f"""
        |  Staged ostree
        |         Commit: {COMMIT_A}
        |      StateRoot: default
        |  Deploy serial: 0
        |         Staged: yes
        |    Soft-reboot: no
        |  Download-only: no
        |
        |● Booted ostree
        |           Commit: {COMMIT_A}
        |           Pinned: yes
        |        StateRoot: default
        |    Deploy serial: 0
        |           Staged: no
        |      Soft-reboot: no
        """,
    ),
    "composefs": (
        document(booted=entry(image(), ostree=None, composefs={"verity": "ee", "missingVerityAllowed": True})),
        f"""
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |        Verity: ee
        |   Soft-reboot: no
        |      FsVerity: Not Enforced
        """,
    ),
    "a verdict": (
        document(booted=entry(image(), ostree=None, verdict="not verified: insecureAcceptAnything (default)")),
        f"""
        |● Booted image: reg.example/os:stable
        |        Digest: {A} (amd64)
        |       Verdict: not verified: insecureAcceptAnything (default)
        |   Soft-reboot: no
        """,
    ),
}


@pytest.mark.parametrize(("host", "expected"), VERBOSE.values(), ids=VERBOSE)
def test_verbose_text(host: dict[str, Any], expected: str) -> None:
    assert text_of(host, verbose=True) == lines(expected)


def test_how_upgrades_are_fetched_stands_at_the_end_and_steers_no_terminal() -> None:
    texts = {"Policy": "/etc/containers/policy.json: signedBy (default)", "Credentials": "/etc/\x1b[2J/auth.json"}
    explanation = Explanation(ImageReference.of("/srv/os", "oci"), texts)
    host = evolve(parse_host(document(booted=entry(image(), ostree=None))), explanation=explanation)
    plain, verbose = status_text(host), status_text(host, is_verbose=True)
    assert "Policy" not in plain
    assert verbose.split("\n\n")[1].splitlines() == [
        "  Upgrades from: oci:/srv/os",
        "         Policy: /etc/containers/policy.json: signedBy (default)",
        "    Credentials: /etc/\\x1b[2J/auth.json",
    ]
    assert sysroot_text(host, is_verbose=True) == verbose


def test_plain_text_does_not_mark_a_download() -> None:
    downloaded = document(staged=entry(image(), downloadOnly=True), booted=entry(image()))
    assert text_of(downloaded) == text_of(document(staged=entry(image()), booted=entry(image())))


def test_a_sysroot_that_does_not_run_shows_all_its_deployments() -> None:
    host = parse_host(document(otherDeployments=[entry(image(version="2")), entry(image(B, "1"))]))
    assert sysroot_text(host).splitlines() == [
        "   Other image: reg.example/os:stable",
        f"        Digest: {A} (amd64)",
        "       Version: 2",
        "",
        "   Other image: reg.example/os:stable",
        f"        Digest: {B} (amd64)",
        "       Version: 1",
    ]
    assert sysroot_text(parse_host(document())) == "System is not deployed via bootc."


def summary(**layers: int) -> ImageSummary:
    listed = [{"digest": f"sha256:{name * 64}", "size": size} for name, size in layers.items()]
    return ImageSummary(Digest.parse(A), canonical_json({"layers": listed}).encode(), b"{}")


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        (
            summary(a=1000, b=500_000),
            [
                "Total new layers: 2     Size: 12.3 MB",
                "Removed layers:   1     Size: 500.0 kB",
                "Added layers:     1     Size: 12.3 MB",
            ],
        ),
        (
            None,
            [
                "Total new layers: 2     Size: 12.3 MB",
                "Removed layers:   0     Size: 0 bytes",
                "Added layers:     2     Size: 12.3 MB",
            ],
        ),
    ],
    ids=["update", "first image"],
)
def test_layer_difference(old: ImageSummary | None, expected: list[str]) -> None:
    assert layer_difference(old, summary(a=1000, c=12_345_678)) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
     (7_654_321_000, "7.7 GB"), (10**21, "1000000.0 PB")],
)  # fmt: skip
def test_size_text(size: int, expected: str) -> None:
    assert size_text(size) == expected


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Ünïcode ● ok", "Ünïcode ● ok"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\u200bb\udc80", "a\\u200bb\\udc80"),
    ],
)
def test_printable(raw: str, shown: str) -> None:
    assert printable(raw) == shown
