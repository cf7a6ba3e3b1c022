"""From the registry to a deployed system: each backend against `podman pull` and other yardsticks, in turns.

usage: bench/import.py [--rounds N] [--layout DIR] [--tag TAG] [--backend NAME ...] [--filesystem ext4|xfs]
as root; prints medians and ratios

Each backend does four things in a row: it gets an image into an empty system (fresh), another one of which one layer
is different (changed), and the second one again, under another name: first the image and the deployment that nobody
needs any more go (again), then only a deployment goes (once more). ostree's own tool then deploys what is there: the
floor for the last one. All this is on a system that is not booted, where a new deployment becomes the default at once;
on a booted one ostree stages it (staged), here with the making of the namespace in which the system looks booted.
Bytes are those that reached the disk.

Each group has a filesystem of its own, fresh, in a file: on one filesystem, what an earlier round removed slows down
the next one's new files (ext4 avoids inodes that were freed in the last minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attrs import frozen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.integration.booted import BootedSysroot
from tests.servers import RegistryServer
from tests.vm.story import build_image

NAME = "bench:latest"
CHANGED, AGAIN = "bench:changed", "bench:again"
TAR, TAR_ONLY = "tar xzf, syncfs", "tar xf, syncfs"
"""GNU tar of the layers as the registry has them, and of layers that were decompressed before"""
BACKENDS = ("ostree", "composefs", "dirimage")
DISK_SIZE = 6 << 30
SECTOR = 512
CHANGE = 5_000_000
"""bytes in the one layer that differs"""
DERIVE = Path(__file__).resolve().parents[1] / "images/debian/derive.py"


def run(*argv: str, **options: object) -> None:
    """Run a program that must succeed; its output is shown only if it does not."""
    done = subprocess.run(argv, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}{done.stderr}")


class Bench:
    """One registry, one image, and a fresh folder for each measurement."""

    def __init__(self, folder: Path, registry: RegistryServer) -> None:
        self.folder, self.registry = folder, registry
        self.image = f"docker://{registry.address}/{NAME}"
        self.config = folder / "bench.toml"
        self.config.write_text(f'[fetchers.registry]\ninsecure = ["{registry.address}"]\n')
        self.layers: list[Path] = []
        self.tars: list[Path] = []

    def unpack(self) -> None:
        """The layers as files, as they come and decompressed, for the yardsticks that start from there."""
        layout = self.folder / "layers"
        run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", self.image, f"dir:{layout}")
        manifest = json.loads((layout / "manifest.json").read_text())
        for number, layer in enumerate(manifest["layers"]):
            tar = self.folder / f"layer{number}.tar"
            blob = layout / layer["digest"].partition(":")[2]
            with blob.open("rb") as source, tar.open("wb") as sink:
                subprocess.run(["gzip", "-dc"], stdin=source, stdout=sink, check=True)
            self.layers.append(blob)
            self.tars.append(tar)

    @property
    def options(self) -> tuple[str, ...]:
        """With which our command knows the registry's address."""
        return ("--config", str(self.config), "--fetcher", "registry")

    def bootc(self, *words: str) -> None:
        """Run our command."""
        run(sys.executable, "-m", "bootc", *self.options, *words)

    def install(self, work: Path, backend: str) -> None:
        """Fetch, import and deploy into an empty filesystem."""
        options = ("--backend", backend, "--bootloader", "none", "--source-imgref", self.image, "--skip-finalize")
        self.bootc("install", "to-filesystem", *options, str(work))

    def switch(self, work: Path, name: str) -> None:
        """Deploy another image on that system."""
        self.bootc("--sysroot", str(work), "switch", "--quiet", f"{self.registry.address}/{name}")

    def stage(self, work: Path, name: str) -> None:
        """The same where the sysroot runs: the default stays what it is until the shutdown."""
        place = self.folder / "booted"
        place.mkdir()
        booted = BootedSysroot.boot(work, place, self.folder)
        image = f"{self.registry.address}/{name}"
        run(*booted.command(*self.options, "switch", "--quiet", image), env=booted.environment())
        shutil.rmtree(place)

    def ostree_deploy(self, work: Path) -> None:
        """`ostree admin deploy` of the commit that was deployed last."""
        listed = subprocess.run(
            ["ostree", "admin", "status", f"--sysroot={work}"], capture_output=True, text=True, check=True
        )
        commit = listed.stdout.split()[1].partition(".")[0]
        run("ostree", "admin", "deploy", f"--sysroot={work}", "--os=default", commit)

    def podman(self, work: Path) -> None:
        """`podman pull` into an empty store."""
        store = ["--root", str(work / "root"), "--runroot", str(work / "run"), "--storage-driver", "overlay"]
        run("podman", *store, "pull", "-q", "--tls-verify=false", self.image)

    def skopeo(self, work: Path) -> None:
        """`skopeo copy` to an OCI layout: fetched and verified, not unpacked."""
        run("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", self.image, f"oci:{work}/layout:x")

    def ostree_commit(self, work: Path) -> None:
        """`ostree commit --tree=tar=` of layers that are decompressed already."""
        run("ostree", f"--repo={work}/repo", "init", "--mode=bare")
        for number, tar in enumerate(self.tars):
            commit = ["commit", "--tree=tar=" + str(tar), "--tar-autocreate-parents", "-b", f"layer{number}"]
            run("ostree", f"--repo={work}/repo", *commit)

    def tar(self, work: Path, layers: Sequence[Path]) -> None:
        """GNU tar of the layers, which decompresses what is compressed with gzip, then syncfs."""
        for layer in layers:
            run("tar", "-x", "--xattrs", "--xattrs-include=*", "-p", "-f", str(layer), "-C", str(work))
        run("sync", "-f", str(work))


MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"),
    "xfs": ("mkfs.xfs", "-q", "-K", "-m", "reflink=1"),
}


@contextmanager
def fresh_filesystem(folder: Path, kind: str) -> Iterator[Path]:
    """An empty one on a loop device, with nothing left to be done in the background."""
    disk, work = folder / "disk", folder / "work"
    work.mkdir()
    run("fallocate", "-l", str(DISK_SIZE), str(disk))
    run(*MKFS[kind], str(disk))
    run("mount", "-o", "loop", str(disk), str(work))
    try:
        yield work
    finally:
        run("umount", "-R", str(work))
        disk.unlink()
        work.rmdir()


@frozen
class Measured:
    """What one step took."""

    seconds: float
    bytes: int
    """written to the disk, by the end of the step and of a sync after it"""


def written(work: Path) -> int:
    """Bytes written to the filesystem's device so far (Documentation/block/stat)."""
    device = os.stat(work).st_dev
    fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    return int(fields[6]) * SECTOR


def measure(work: Path, step: Callable[[Path], None]) -> Measured:
    """One step; what is still to be written from before is written first."""
    os.sync()
    before, started = written(work), time.perf_counter()
    step(work)
    seconds = time.perf_counter() - started
    run("sync", "-f", str(work))
    return Measured(seconds, written(work) - before)


def steps_of(bench: Bench, backends: Sequence[str]) -> list[list[tuple[str, Callable[[Path], None]]]]:
    """Groups of steps; each group begins with an empty filesystem."""
    groups: list[list[tuple[str, Callable[[Path], None]]]] = [
        [("podman pull", bench.podman)],
        [(TAR, partial(bench.tar, layers=bench.layers))],
        [(TAR_ONLY, partial(bench.tar, layers=bench.tars))],
        [("skopeo copy to oci:", bench.skopeo)],
        [("ostree commit, layers as tar", bench.ostree_commit)],
    ]
    for backend in backends:
        groups.append(
            [
                (f"{backend}: fresh", partial(bench.install, backend=backend)),
                (f"{backend}: changed", partial(bench.switch, name=CHANGED)),
                (f"{backend}: again", partial(bench.switch, name=AGAIN)),
                (f"{backend}: once more", partial(bench.switch, name=CHANGED)),
            ]
        )
        if backend == "ostree":
            groups[-1].append(("ostree admin deploy", bench.ostree_deploy))
            groups[-1].append(("ostree: staged", partial(bench.stage, name=AGAIN)))
    return groups


def report(found: dict[str, list[Measured]], *bases: str) -> None:
    """Medians, spread, bytes, and the time as a ratio of each base."""
    floors = [statistics.median(one.seconds for one in found[base]) for base in bases]
    print(f"{'':30} {'seconds':>8}   {'':16} {'MB written':>10}   " + "   ".join(f"x {base}" for base in bases))
    for name, values in found.items():
        times = [one.seconds for one in values]
        median, size = statistics.median(times), statistics.median(one.bytes for one in values)
        ratios = "".join(f"{median / floor:{len(base) + 2}.2f}   " for base, floor in zip(bases, floors, strict=True))
        spread = f"({min(times):.2f}..{max(times):.2f})"
        print(f"{name:30} {median:8.2f}   {spread:16} {size / 1e6:10.1f}   {ratios}")


def publish(folder: Path, registry: RegistryServer, layout: Path, tag: str) -> None:
    """The image, one with another last layer, and that one under a second name."""
    copy, tree = folder / "changed", folder / "tree"
    shutil.copytree(layout, copy)
    (tree / "usr/share/changed").mkdir(parents=True)
    for number in range(100):
        (tree / f"usr/share/changed/{number}").write_bytes(os.urandom(CHANGE // 100))
    run("/usr/bin/python3", str(DERIVE), str(copy), tag, "changed", str(tree))
    registry.push(copy, tag, NAME)
    for name in (CHANGED, AGAIN):
        registry.push(copy, "changed", name)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layout", type=Path, help="an OCI layout; default: the sample image is built")
    parser.add_argument("--tag", default="v1")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="default: all of them")
    parser.add_argument("--filesystem", choices=MKFS, default="ext4")
    given = parser.parse_args(arguments)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Where bootc is installed its modules are compiled.
    with tempfile.TemporaryDirectory(prefix="bootc-bench-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        layout = given.layout or build_image(folder, "trixie", 5000)
        with RegistryServer(folder / "registry") as registry:
            publish(folder, registry, layout, given.tag)
            bench = Bench(folder, registry)
            bench.unpack()
            groups = steps_of(bench, given.backend or BACKENDS)
            found: dict[str, list[Measured]] = {name: [] for group in groups for name, _ in group}
            for number in range(given.rounds):
                for group in groups:
                    with fresh_filesystem(bench.folder, given.filesystem) as work:
                        for name, step in group:
                            found[name].append(measure(work, step))
                line = ", ".join(f"{values[-1].seconds:.2f}" for values in found.values())
                print(f"round {number + 1}: {line}", flush=True)
            report(found, "podman pull", TAR, TAR_ONLY)
            print("load average: " + ", ".join(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
