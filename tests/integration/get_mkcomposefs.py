"""The real mkcomposefs 1.0.8, which the composefs backend is compared with.

Debian's packages are downloaded once from the suite that has them, with a configuration of apt of their own, and
unpacked into a cache directory. Nothing is installed: the programs run through the dynamic loader that came with them.

    python3 -m tests.integration.get_mkcomposefs        downloads if need be, and prints the directory
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

VERSION = "1.0.8"
_SUITE = "forky"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class UnavailableProgramError(Exception):
    """The program cannot be had here; the tests that need it fail with this."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"mkcomposefs {VERSION} of Debian's package `composefs` is needed and cannot be had: {problem}"
        )


def unpacked() -> Path:
    """The root directory of the packages' files, from the cache if they are there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pybootc-tests"
    wanted = cache / f"composefs-{VERSION}"
    if not wanted.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            root = _download(Path(folder))
            try:
                root.rename(wanted)
            except OSError:
                if not wanted.exists():
                    raise
    return wanted


def command(program: str) -> list[str]:
    """How to start one of the package's programs: `mkcomposefs` or `composefs-info`."""
    root = unpacked()
    loaders = sorted(root.glob("usr/lib*/ld-linux*.so.*"))
    libraries = sorted(path.parent for path in root.glob("usr/lib/*/libcomposefs.so.1"))
    if not loaders or not libraries:
        raise UnavailableProgramError(f"{root} is not complete; remove it and try again")
    return [str(loaders[0]), "--library-path", str(libraries[0]), str(root / "usr/bin" / program)]


def mkcomposefs(dump: bytes, versions: tuple[int, int], folder: Path) -> bytes:
    """The image that mkcomposefs makes of a dump, which its strict parser reads, with these lowest and highest versions
    of the format. Raises AssertionError, with its words, if it refuses.
    """
    source, image = folder / "source.dump", folder / "image"
    source.write_bytes(dump)
    options = ["--from-file", f"--min-version={versions[0]}", f"--max-version={versions[1]}"]
    run([*command("mkcomposefs"), *options, str(source), str(image)], CFS_PARSE_STRICT="1")
    return image.read_bytes()


def run(argv: Sequence[str], **environment: str) -> bytes:
    """What a program prints that must succeed."""
    done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, env=os.environ | environment)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def _download(folder: Path) -> Path:
    for name in ("lists/partial", "cache/archives/partial", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {_mirror()} {_SUITE} main\n")
    _run(["apt-get", *_options(folder), "update"])
    _run(["apt-get", *_options(folder), "install", "-y", "--no-install-recommends", "--download-only", "composefs"])
    for package in sorted((folder / "cache/archives").glob("*.deb")):
        if package.name.startswith("composefs_") and not package.name.startswith(f"composefs_{VERSION}"):
            raise UnavailableProgramError(f"{_SUITE} has {package.name}")
        _run(["dpkg", "-x", str(package), str(folder / "root")])
    return folder / "root"


def _options(folder: Path) -> list[str]:
    """A configuration beside the machine's: other sources, no installed packages, its own files."""
    settings = (
        f"Dir::Etc::SourceList={folder}/sources.list",
        "Dir::Etc::SourceParts=/dev/null",
        f"Dir::State::Lists={folder}/lists",
        f"Dir::State::status={folder}/status",
        f"Dir::Cache={folder}/cache",
        "Acquire::Languages=none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
        "Acquire::Check-Valid-Until=false",  # a mirror may be a snapshot that stands still
        "APT::Update::Error-Mode=any",
        "APT::Sandbox::User=root",
        "Debug::NoLocking=true",
    )
    return ["-q", *(f"-o{setting}" for setting in settings)]


def _mirror() -> str:
    """Where this machine gets Debian's packages from."""
    found = _run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(RELEASE) $(REPO_URI)"])
    for line in found.splitlines():
        origin, _, rest = line.partition(" ")
        release, _, uri = rest.partition(" ")
        if origin == "Debian" and "security" not in release:
            return uri
    raise UnavailableProgramError("apt knows no source of Debian; run `apt-get update` on a Debian machine")


def _run(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise UnavailableProgramError(f"{argv[0]}: {error.strerror}") from error
    if done.returncode:
        words = [word for word in argv if not word.startswith("-")]
        raise UnavailableProgramError(f"`{' '.join(words)}` failed: {done.stderr.strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    try:
        print(unpacked())
    except UnavailableProgramError as error:
        sys.exit(str(error))
