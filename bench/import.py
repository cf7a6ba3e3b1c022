"""From the registry to a deployed system: ours against `podman pull`, and other yardsticks, in interleaved rounds.

usage: bench/import.py [--rounds N] [--layout DIR] [--tag TAG]     as root; prints medians and ratios

Each measurement has an ext4 of its own, fresh, in a file: on one filesystem, what an earlier round removed slows down
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.servers import RegistryServer
from tests.vm.story import build_image

NAME = "bench:latest"
DISK_SIZE = 4 << 30


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
        self.tars: list[Path] = []

    def decompress(self) -> None:
        """The layers as tar files, for the yardsticks that start from there."""
        layout = self.folder / "layout"
        run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", self.image, f"dir:{layout}")
        manifest = json.loads((layout / "manifest.json").read_text())
        for number, layer in enumerate(manifest["layers"]):
            tar = self.folder / f"layer{number}.tar"
            blob = layout / layer["digest"].partition(":")[2]
            with blob.open("rb") as source, tar.open("wb") as sink:
                subprocess.run(["gzip", "-dc"], stdin=source, stdout=sink, check=True)
            self.tars.append(tar)
        shutil.rmtree(layout)

    def prepare_ours(self, work: Path) -> None:
        """An empty sysroot."""
        run("ostree", "admin", "init-fs", "--modern", str(work))
        run("ostree", "admin", "os-init", f"--sysroot={work}", "default")

    def ours(self, work: Path) -> None:
        """Fetch, import, merge and deploy."""
        base = [sys.executable, "-m", "bootc", "--config", str(self.config), "--sysroot", str(work)]
        run(
            *base,
            "--fetcher",
            "registry",
            "--bootloader",
            "none",
            "switch",
            "--quiet",
            self.image.removeprefix("docker://"),
        )

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

    def tar(self, work: Path) -> None:
        """GNU tar of the decompressed layers, then syncfs."""
        for tar in self.tars:
            run("tar", "-x", "--xattrs", "--xattrs-include=*", "-p", "-f", str(tar), "-C", str(work))
        run("sync", "-f", str(work))


@contextmanager
def fresh_filesystem(folder: Path) -> Iterator[Path]:
    """An empty ext4 on a loop device, with nothing left to be done in the background."""
    disk, work = folder / "disk", folder / "work"
    work.mkdir()
    run("fallocate", "-l", str(DISK_SIZE), str(disk))
    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", str(disk))
    run("mount", "-o", "loop", str(disk), str(work))
    try:
        yield work
    finally:
        run("umount", "-R", str(work))
        disk.unlink()
        work.rmdir()


def measure(bench: Bench, step: Callable[[Path], None], prepare: Callable[[Path], None] | None) -> float:
    """Seconds of one run; what is still to be written from before is written first."""
    with fresh_filesystem(bench.folder) as work:
        if prepare:
            prepare(work)
        os.sync()
        started = time.perf_counter()
        step(work)
        return time.perf_counter() - started


def report(times: dict[str, list[float]], base: str) -> None:
    """Medians, spread, and each as a ratio of the base."""
    floor = statistics.median(times[base])
    for name, values in times.items():
        median = statistics.median(values)
        spread = f"{min(values):.2f}..{max(values):.2f}"
        print(f"{name:34} {median:7.2f} s   {spread:>14}   {median / floor:5.2f} x {base}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layout", type=Path, help="an OCI layout; default: the sample image is built")
    parser.add_argument("--tag", default="v1")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bootc-bench-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        layout = given.layout or build_image(folder, "trixie", 5000)
        with RegistryServer(folder / "registry") as registry:
            registry.push(layout, given.tag, NAME)
            bench = Bench(folder, registry)
            bench.decompress()
            steps = {
                "bootc: registry to deployed": (bench.ours, bench.prepare_ours),
                "podman pull": (bench.podman, None),
                "skopeo copy to oci:": (bench.skopeo, None),
                "ostree commit, layers as tar": (bench.ostree_commit, None),
                "GNU tar and syncfs": (bench.tar, None),
            }
            times: dict[str, list[float]] = {name: [] for name in steps}
            for number in range(given.rounds):
                for name, (step, prepare) in steps.items():
                    times[name].append(measure(bench, step, prepare))
                print(f"round {number + 1}: " + ", ".join(f"{values[-1]:.2f}" for values in times.values()), flush=True)
            report(times, "podman pull")
            print("load average: " + ", ".join(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
