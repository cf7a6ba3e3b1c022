"""Configuration, records and origins that are damaged, unknown or newer, and backends that do not own the sysroot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.failing import NEWER, World, fails
from tests.integration.sysroots import images
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root

STATE = "ostree/bootc"
SYSTEM, REFERENCES = f"{STATE}/system.json", f"{STATE}/references.json"
MOVE_AWAY = "(move the file away; without it, commands that change the system need --bootloader NAME)"
CORRECT = "(correct this, then try again)"
CACHE = "(it is a cache: remove the file, and the next `bootc upgrade` writes it anew)"


def error(root: Path, *words: str, options: tuple[str, ...] = ()) -> str:
    return fails(root.parent, *options, "--sysroot", str(root), *words, root=root)


# ---------------------------------------------------------------- configuration

CONFIGURATIONS = {
    "no TOML": (
        b"[bootc\n",
        f"not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 7) {CORRECT}",
    ),
    "escapes": (b"x = \x1b[31m", f"not valid TOML: Invalid value (at line 1, column 5) {CORRECT}"),
    "no UTF-8": (b"\xff\xfe[bootc]", f"not UTF-8 (at line 1) {CORRECT}"),
    "unknown table": (
        b"[boot]\nx = 1",
        "boot: unknown table (known: bootc, fetch, install, trust, backends, fetchers, bootloaders)",
    ),
    "unknown key": (b"[bootc]\nbakend = 'ostree'", "bootc.bakend: unknown key (did you mean backend?)"),
    "wrong type": (b"[bootc]\nparallel = '3'", f"bootc.parallel: must be an integer {CORRECT}"),
    "out of range": (b"[bootc]\nparallel = 1000", f"bootc.parallel: 'parallel' must be <= 99: 1000 {CORRECT}"),
    "a plugin's unknown key": (
        b"[fetchers.registry]\nauthfle = 'x'",
        "fetchers.registry.authfle: unknown key (did you mean authfile?)",
    ),
    "a plugin's wrong type": (
        b"[fetchers.registry]\ninsecure = 'x'",
        f"fetchers.registry.insecure: must be a list {CORRECT}",
    ),
    "unknown plugin": (
        b"[fetchers.pigeon]\nspeed = 3",
        "fetchers.pigeon: there is no fetcher 'pigeon' (known: registry, skopeo)",
    ),
}


@pytest.mark.parametrize(("content", "problem"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_corrupt_configuration(root: Path, content: bytes, problem: str) -> None:
    config = root.parent / "config.toml"
    config.write_bytes(content)
    assert error(root, "upgrade", options=("--config", str(config))) == f"{config}: {problem}"


def test_a_corrupt_configuration_stops_every_command_that_reads_it(root: Path) -> None:
    config = root.parent / "config.toml"
    config.write_text("[bootc\n")
    lines = {error(root, *words, options=("--config", str(config))) for words in (["status"], ["rollback"], ["config"])}
    assert lines == {f"{config}: {CONFIGURATIONS['no TOML'][1]}"}
    absent = root.parent / "absent.toml"
    line = error(root, "upgrade", options=("--config", str(absent)))
    assert line == f"{absent}: No such file or directory {CORRECT}"


def test_an_unknown_fetcher_in_the_configuration(root: Path) -> None:
    config = root.parent / "config.toml"
    config.write_text("[bootc]\nfetcher = 'pigeon'\n")
    expected = "unknown fetcher 'pigeon' (known: registry, skopeo)"
    assert error(root, "upgrade", options=("--config", str(config))) == expected


# ---------------------------------------------------------------- backends


@pytest.mark.parametrize("words", [("status",), ("upgrade",), ("rollback",)], ids=" ".join)
def test_a_backend_that_does_not_match_the_sysroot(root: Path, words: tuple[str, ...]) -> None:
    assert error(root, *words, options=("--backend", "zfs")) == (
        "this system was installed with backend 'ostree'; cannot use 'zfs'"
        " (leave out --backend, or use --backend ostree)"
    )


def test_a_directory_that_is_no_sysroot(tmp_path: Path) -> None:
    assert fails(tmp_path, "--sysroot", f"{tmp_path}/absent", "status") == (
        f"{tmp_path}/absent: no such directory (check the name, or choose another target)"
    )
    (tmp_path / "plain").mkdir()
    assert error(tmp_path / "plain", "upgrade") == (
        f"{tmp_path}/plain: no system is installed there (check the path, or `bootc install to-filesystem`)"
    )


# ---------------------------------------------------------------- records


def changed(root: Path, **keys: object) -> bytes:
    """The record of the installation with other values."""
    return json.dumps({**json.loads((root / SYSTEM).read_bytes()), **keys}).encode()


SYSTEMS = {
    "garbage": (b"\0\x1b[31m{", f"{SYSTEM}: damaged: Expecting value: line 1 column 1 (char 0) {MOVE_AWAY}"),
    "empty": (b"", f"{SYSTEM}: damaged: Expecting value: line 1 column 1 (char 0) {MOVE_AWAY}"),
    "truncated": (
        b'{\n  "backend": "ost',
        f"{SYSTEM}: damaged: Unterminated string starting at: line 2 column 14 (char 15) {MOVE_AWAY}",
    ),
    "another kind": (b"[]", f"{SYSTEM}: damaged: not a JSON object {MOVE_AWAY}"),
    "a part missing": (b'{"backend": "ostree"}', f"{SYSTEM}: damaged: 'bootloader' is not a text {MOVE_AWAY}"),
    "a newer format": (
        b'{"format": {"incompatible": ["quantum\\u001b[31m"]}}',
        f"{SYSTEM}: uses what this version does not know: quantum\\x1b[31m {NEWER}",
    ),
}


@pytest.mark.parametrize(("content", "line"), SYSTEMS.values(), ids=SYSTEMS)
def test_a_damaged_record_of_the_installation(root: Path, content: bytes, line: str) -> None:
    good = (root / SYSTEM).read_bytes()
    (root / SYSTEM).write_bytes(content)
    assert [error(root, *words) for words in (["upgrade"], ["status"])] == [line, line]
    (root / SYSTEM).write_bytes(good)
    assert images(root) == ["v1"]


def test_the_hint_of_a_damaged_record_helps(root: Path) -> None:
    (root / SYSTEM).unlink()
    assert images(root) == ["v1"]
    assert error(root, "upgrade") == "no known bootloader starts this machine (choose one with --bootloader)"
    run = bootc("--bootloader", "none", "--sysroot", str(root), "upgrade")
    assert (run.code, run.out) == (0, "No update available.\n")


def test_a_newer_format_that_may_be_read_but_not_written(root: Path) -> None:
    (root / SYSTEM).write_bytes(changed(root, format={"read-only-compatible": ["quantum"]}))
    assert images(root) == ["v1"]
    expected = f"{SYSTEM}: uses what this version can read but not write: quantum {NEWER}"
    assert [error(root, *words) for words in (["upgrade"], ["rollback"])] == [expected] * 2


RECORDED = {
    "backend": ({"backend": "zfs\x1b[31m"}, "unknown backend 'zfs\\x1b[31m' (known: "),
    "bootloader": ({"bootloader": "lilo"}, "unknown bootloader 'lilo' (known: "),
    "firmware": (
        {"firmware": ["openfirmware"]},
        f"{SYSTEM}: unknown firmware: 'openfirmware' is not a valid Firmware {NEWER}",
    ),
}


@pytest.mark.parametrize(("keys", "line"), RECORDED.values(), ids=RECORDED)
def test_a_record_that_names_what_is_not_there(root: Path, keys: dict[str, object], line: str) -> None:
    (root / SYSTEM).write_bytes(changed(root, **keys))
    assert error(root, "upgrade").startswith(line)


REFERENCE_RECORDS = {
    "garbage": (b"\0\x1b[31m{", f"{REFERENCES}: damaged: Expecting value: line 1 column 1 (char 0) {CACHE}"),
    "truncated": (
        b'{"references": {"ostr',
        f"{REFERENCES}: damaged: Unterminated string starting at: line 1 column 17 (char 16) {CACHE}",
    ),
    "another kind": (b'{"references": []}', f"{REFERENCES}: damaged: 'references' is not an object {CACHE}"),
}


@pytest.mark.parametrize(("content", "line"), REFERENCE_RECORDS.values(), ids=REFERENCE_RECORDS)
def test_a_damaged_record_of_references(world: World, root: Path, content: bytes, line: str) -> None:
    """Status and rollback do not need it; and the hint helps."""
    (root / REFERENCES).write_bytes(content)
    assert images(root) == ["v1"]
    words = ("switch", "--transport", "oci", world.layout.name("v2"))
    assert error(root, *words) == line
    (root / REFERENCES).unlink()
    run = bootc("--sysroot", str(root), *words)
    assert run.code == 0, run.err
    assert images(root) == ["v2", "v1"]


ACCEPTED_RECORDS = {
    "no JSON": b"{\x1b[31m",
    "no table": b'{"newest": [], "verdicts": []}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", ACCEPTED_RECORDS.values(), ids=ACCEPTED_RECORDS)
def test_a_damaged_record_of_what_was_accepted(world: World, root: Path, content: bytes) -> None:
    """Status and rollback do not need it; without it, everything works."""
    record = root / STATE / "accepted.json"
    assert "verdicts" in json.loads(record.read_bytes())
    record.write_bytes(content)
    run = bootc("--sysroot", str(root), "status", "--format", "json")
    assert (run.code, "why images were accepted is not shown" in run.err) == (0, True)
    words = ("switch", "--transport", "oci", world.layout.name("v2"))
    assert error(root, *words).startswith(f"{STATE}/accepted.json: damaged: ")
    record.unlink()
    run = bootc("--sysroot", str(root), *words)
    assert run.code == 0, run.err
    assert images(root) == ["v2", "v1"]


# ---------------------------------------------------------------- origins

UNREADABLE = "(move a damaged ostree/deploy/*/deploy/*.origin away; `bootc switch IMAGE` then says what to follow)"
NOTHING_FOLLOWED = "No image source specified (`bootc switch IMAGE` sets one)"


def origin(root: Path) -> Path:
    return next(root.glob("ostree/deploy/*/deploy/*.origin"))


@pytest.mark.parametrize("content", [b"\0\xff\x1b[31m", b"[origin]\ncontainer-im"], ids=["garbage", "truncated"])
def test_an_origin_that_libostree_cannot_read(world: World, root: Path, content: bytes) -> None:
    origin(root).write_bytes(content)
    for words in (["status"], ["upgrade"], ["switch", "--transport", "oci", world.layout.name("v2")]):
        line = error(root, *words)
        assert line.startswith(f"{root}: loading sysroot: Parsing deployment /ostree/boot.1/default/")
        assert line.endswith(UNREADABLE)
    origin(root).unlink()
    assert error(root, "upgrade") == NOTHING_FOLLOWED
    run = bootc("--sysroot", str(root), "switch", "--transport", "oci", world.layout.name("v2"))
    assert run.code == 0, run.err
    assert images(root)[0] == "v2"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "truncated": lambda good: good[:60],
    "altered": lambda good: good.replace(b"ostree=/ostree/boot.", b"ostree=/ostree/\x1b."),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_boot_entry_that_libostree_cannot_read(world: World, root: Path, damage: Callable[[bytes], bytes]) -> None:
    """libostree knows deployments by their entries."""
    switch = ("switch", "--transport", "oci", world.layout.name("v2"))
    assert bootc("--sysroot", str(root), *switch).code == 0
    entry = max((root / "boot/loader/entries").iterdir())
    good = entry.read_bytes()
    entry.write_bytes(damage(good))
    for words in (["status"], ["upgrade"], ["rollback"]):
        assert "(correct the damaged file in boot/loader/entries " in error(root, *words)
    entry.write_bytes(good)
    assert images(root) == ["v2", "v1"]
    entry.unlink()
    assert images(root) == ["v1"]
    run = bootc("--sysroot", str(root), *switch)
    assert run.code == 0, run.err
    assert images(root) == ["v2", "v1"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[origin]\n", b"[origin]\ncontainer-image-reference=carrier-pigeon:\x1b[31mx\n"],
    ids=["empty", "no reference", "no such transport"],
)
def test_an_origin_that_names_nothing_to_follow(root: Path, content: bytes) -> None:
    origin(root).write_bytes(content)
    assert error(root, "upgrade") == NOTHING_FOLLOWED
    status = bootc("--sysroot", str(root), "status")
    assert (status.code, "\x1b" in status.out) == (0, False)
