"""docs/errors.md lists every error, with its exit code and a message that it really gives."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from bootc import errors
from bootc.errors import BootcError

DOCUMENT = Path(__file__).parents[2] / "docs/errors.md"
IMAGE = "quay.io/os:1"

EXAMPLES: tuple[BootcError, ...] = (
    BootcError("the frobnicator is out of order"),
    errors.UsageError("--check cannot be used with --apply", "see `bootc upgrade --help`"),
    errors.CancelledError(),
    errors.ConfigError("/etc/bootc/config.toml", "bootc.tries", "must be an integer"),
    errors.PluginError("sbom", "bootc_check_image: ValueError: no SBOM"),
    errors.UnknownPluginError("backend", "btrfs", ["ostree"]),
    errors.UnavailablePluginError("fetcher", "skopeo", "skopeo is not installed"),
    errors.MissingCapabilityError("backend", "dir", "pin"),
    errors.StateError("ostree/bootc/system.json", "damaged: 'backend' is not a text"),
    errors.BackendMismatchError("composefs", "ostree"),
    errors.HostError("This command must be executed as the root user"),
    errors.LockedError("bootc upgrade (pid 814, since 2026-01-02T03:04:05Z)"),
    errors.ProgramError("mkfs.xfs /dev/sdb3", 1, "already mounted\n"),
    errors.MissingProgramError("skopeo", "fetch images"),
    errors.NoSpaceError("the boot files", "/boot", 1024, 4096),
    errors.FileSystemError("/sysroot/ostree", "read-only file system", "remount it writable, or choose another target"),
    errors.TargetError("/dev/sdb", "has partitions", "use --wipe to destroy them"),
    errors.ReferenceError("quay.io/os", "no transport", "write docker://NAME for an image in a registry"),
    errors.FetchError(IMAGE, "cannot be fetched"),
    errors.NotFoundError(IMAGE, "manifest unknown"),
    errors.AuthenticationError(IMAGE, "unauthorized"),
    errors.PolicyError(IMAGE, "rejected by policy"),
    errors.DowngradeError(IMAGE, "version 1 is older than 2, which was accepted before"),
    errors.NetworkError(IMAGE, "connection refused"),
    errors.ProtocolError(IMAGE, "not valid JSON"),
    errors.IntegrityError(IMAGE, "blob has another digest"),
    errors.RebuiltLayerError(IMAGE),
    errors.UnsupportedError(IMAGE, "no image for linux/s390x in this index"),
    errors.ImageError("docker://quay.io/os:1", "no kernel in usr/lib/modules"),
    errors.LayerError("../x", "leads out of the image"),
    errors.StoreError("ostree", "opening repo: No such file or directory"),
    errors.DeploymentError("No rollback available"),
    errors.EtcConflictError(["/etc/motd is a directory on one side only"]),
    errors.BootloaderError("grub", "no grub.cfg"),
    errors.UnsupportedPairError("grub", "cannot read BLS entries"),
)


def rows() -> dict[str, tuple[int, str, str]]:
    """Class name to exit code, meaning and example, as documented."""
    found: dict[str, tuple[int, str, str]] = {}
    for line in DOCUMENT.read_text().splitlines():
        match = re.fullmatch(r"\| `(\w+)` \| (\d+) \| (.+?) \| (`+) ?(.+?) ?\4 \|", line)
        if match:
            assert match[1] not in found, f"{match[1]} is documented twice"
            found[match[1]] = (int(match[2]), match[3], match[5])
        else:
            assert not line.startswith("| `"), f"unreadable row: {line}"
    return found


def classes() -> dict[str, type[BootcError]]:
    """All error classes, by name."""
    return {name: cls for name, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, BootcError)}


def test_the_document_lists_every_error_and_no_other() -> None:
    assert rows().keys() == classes().keys()


def test_every_error_has_an_example_here() -> None:
    assert {type(example).__name__ for example in EXAMPLES} == classes().keys()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_the_documented_message_is_the_real_one(example: BootcError) -> None:
    code, _, message = rows()[type(example).__name__]

    assert (example.exit_code, str(example)) == (code, example.message)
    assert message == example.message + (f" ({example.hint})" if example.hint else "")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_an_error_says_what_to_do_next(example: BootcError) -> None:
    whose_message_says_it = {"BootcError", "FetchError", "HostError"}

    assert bool(example.hint) is (type(example).__name__ not in whose_message_says_it)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_every_error_is_one_line(example: BootcError) -> None:
    assert example.message.isprintable()
    assert inspect.getdoc(type(example)) not in (None, inspect.getdoc(Exception))


def test_errors_keep_their_fields() -> None:
    found = errors.NoSpaceError("x", "/boot", 1, 2)

    assert (found.what, found.where, found.available, found.required) == ("x", "/boot", 1, 2)
    assert errors.UnknownPluginError("backend", "x", []).hint == "known: none"
    assert errors.UnknownPluginError("backend", "x", [], "why").message == "unknown backend 'x': why"
    assert errors.ProgramError("x", 3, "").message == "`x` failed with exit code 3"
