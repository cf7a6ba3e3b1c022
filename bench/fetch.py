"""Fetching: our registry fetcher against `skopeo copy` and `podman pull`, on loopback and on a slow link, in turns.

usage: bench/fetch.py [--rounds N] [--slow-rounds N] [--size MIB] [--rate MBIT] [--delay MS]
as root; 1 if a limit is passed

Every program is a process of its own and begins with nothing; * is the time without the start of Python. Then: what an
update costs in which one package changed, what is fetched again after cuts, and what a check costs that finds nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.fetch_image import add_images, choose
from bench.link import FAR, Link, move_to_own_network, slow_link
from bench.proxy import CountingProxy
from bootc.image import Image
from bootc.spoolfile import PIECE
from tests.integration.main_job import Host, Registry, copy_of, host_on_disk, trusting
from tests.integration.sysroots import Layout
from tests.servers import RegistryServer

JOB = Path(__file__).with_name("fetch_job.py")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
PLAIN, OURS, IMPORT = "plain GETs", "registry fetcher", "registry fetcher, as for an import"
SKOPEO, UNPACKED, PODMAN = "skopeo copy", "skopeo copy, decompressing", "podman pull"
STARTED = " *"
"""marks the time without the start of Python, which an upgrade has done before it fetches"""
MIB = 1 << 20
NO_SLOWER = 1.02
"""two runs of one program differ by as much"""
DISK_SIZE = 3 << 30
PACE = 40e6
"""bytes per second while connections are cut: the client keeps up, so nothing is on its way unseen"""


@define
class Targets:
    """What was wanted and what came out."""

    missed: list[str] = field(factory=list)

    def check(self, name: str, value: float, limit: float, unit: str = "") -> None:
        """One line."""
        verdict = "ok" if value <= limit else "MISSED"
        print(f"  {name}: {value:.3g}{unit}, limit {limit:.3g}{unit}: {verdict}", flush=True)
        if value > limit:
            self.missed.append(name)


@frozen
class Programs:
    """The rivals. Each gets the image into an empty folder."""

    reference: str

    def all(self) -> Mapping[str, Callable[[Path], list[str]]]:
        """Name and command line."""
        return {
            PLAIN: lambda work: job(self.reference, work, "plain"),
            OURS: lambda work: job(self.reference, work, "blobs"),
            IMPORT: lambda work: job(self.reference, work, "layers"),
            SKOPEO: self.skopeo,
            UNPACKED: self.skopeo_unpacked,
            PODMAN: self.podman,
        }

    def skopeo(self, work: Path) -> list[str]:
        """To an OCI layout: blobs are verified, not unpacked."""
        command = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false"]
        return [*command, self.reference, f"oci:{work}/layout:x"]

    def skopeo_unpacked(self, work: Path) -> list[str]:
        """Decompressed, too; diffIDs are not compared."""
        command = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-decompress"]
        return [*command, self.reference, f"dir:{work}/layout"]

    def podman(self, work: Path) -> list[str]:
        """To an overlay store: unpacked, too."""
        store = ["--root", str(work / "root"), "--runroot", str(work / "run"), "--storage-driver", "overlay"]
        return ["podman", *store, "pull", "-q", "--tls-verify=false", self.reference]


def job(reference: str, work: Path, mode: str) -> list[str]:
    """The command line of our fetcher alone."""
    return [sys.executable, str(JOB), reference, str(work), mode]


def run(argv: Sequence[str]) -> tuple[float, float]:
    """Seconds that a program took, by the clock and of CPU; it must succeed."""
    started = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime


def race(folder: Path, reference: str, rounds: int, link: Link | None) -> dict[str, float]:
    """Medians."""
    programs = Programs(reference).all()
    times: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for name, command in programs.items():
            with _empty(folder / "work") as work:
                argv = command(work)
                seconds, cpu = run(link.argv(*argv) if link else argv)
                times.setdefault(name, []).append((seconds, cpu))
                if (inner := work / "seconds").exists():
                    times.setdefault(name + STARTED, []).append((float(inner.read_text()), cpu))
    medians = {name: statistics.median(seconds for seconds, _ in values) for name, values in times.items()}
    for name, values in times.items():
        spread = f"({min(values)[0]:.2f}..{max(values)[0]:.2f})"
        ratios = "   ".join(f"{medians[name] / medians[rival]:5.2f} x {rival}" for rival in (SKOPEO, PODMAN))
        cpu = statistics.median(cpu for _, cpu in values)
        print(f"  {name:36} {medians[name]:6.2f} s {spread:16} {ratios}   CPU {cpu:5.2f} s", flush=True)
    return medians


@contextmanager
def _empty(work: Path) -> Iterator[Path]:
    """A folder; podman binds its store there to itself."""
    work.mkdir()
    try:
        yield work
    finally:
        store = f"{work}/root/overlay"
        if f" {store} " in Path("/proc/self/mounts").read_text():
            subprocess.run(["umount", store], check=True)
        shutil.rmtree(work)


def update(
    folder: Path, server: RegistryServer, images: Mapping[str, Image], link: Link, rounds: int, targets: Targets
) -> None:
    """`bootc switch` from `v1` to `v2`, in parts as configured by default, and by whole layers."""
    whole, seconds = _size(images["v2"]), dict[str, list[tuple[float, float]]]()
    with host_on_disk(folder / "installed", server.address, size=DISK_SIZE) as host:
        host.install(f"docker://{server.address}/bench:v1")
    for mode in [mode for _ in range(rounds) for mode in ("auto", "never")]:
        before = len(server.requests())
        done = _switch(folder, host, f"{server.address}/bench:v2", mode, link)
        sizes = [request.size for request in server.requests()[before:] if "/blobs/" in request.path]
        times = (max(layer["seconds"] for layer in done["layersFetched"]), done["seconds"]["import"])
        seconds.setdefault(mode, []).append(times)
        share, told = sum(sizes) / whole, f"fetch {times[0]:.2f} s, with import {times[1]:.2f} s"
        print(
            f"  {mode}: {sum(sizes) / 1e6:.2f} MB, {share:.2%} of the image, {len(sizes)} requests; {told}", flush=True
        )
        if mode == "auto":
            targets.check("share of the bytes", share, 0.05)
    (fetch, both), (fetch_whole, both_whole) = (
        [statistics.median(values) for values in zip(*seconds[mode], strict=True)] for mode in ("auto", "never")
    )
    targets.check("time of fetching, in parts / by whole layers", fetch / fetch_whole, 0.2)
    print(f"  with the import into the store: {both / both_whole:.2f}")


def _switch(folder: Path, host: Host, name: str, mode: str, link: Link) -> Mapping[str, Any]:
    """On a copy of a system; what the command tells of it."""
    config = trusting(folder / f"{mode}.toml", name.partition("/")[0])
    config.write_text(f'{config.read_text()}[fetch]\npartial = "{mode}"\n')
    with tempfile.TemporaryDirectory(dir=folder) as work, copy_of(evolve(host, config=config), Path(work)) as copy:
        argv = link.argv(*copy.argv("switch", "--json", name))
        done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    told: Mapping[str, Any] = json.loads(done.stdout)
    return told


def cuts(folder: Path, server: RegistryServer, rounds: int, targets: Targets) -> None:
    """What is fetched again: counted is all that went to the client, less what goes to one that is never cut."""
    chance = random.Random()
    with CountingProxy(server.address, PACE) as proxy:
        reference = f"docker://{proxy.address}/bench:gzip"
        run(job(reference, folder / "whole", "layers"))
        whole = proxy.down
        for name, step in {"connections reset": _reset, "kill -9": _killed}.items():
            again = []
            for number in range(rounds):
                before, work = proxy.down, folder / f"{name}{number}"
                step(proxy, job(reference, work, "layers"), before + chance.randrange(whole // 20, whole))
                again.append(proxy.down - before - whole)
                shutil.rmtree(work)
            told = ", ".join(f"{size / MIB:.2f}" for size in sorted(again))
            print(f"  {name}: fetched again, MiB: {told}")
            targets.check(f"{name}, the worst", max(again) / MIB, (PIECE + MIB) / MIB, " MiB")


def _reset(proxy: CountingProxy, argv: Sequence[str], at: int) -> None:
    proxy.cut_at(at)
    run(argv)


def _killed(proxy: CountingProxy, argv: Sequence[str], at: int) -> None:
    process = subprocess.Popen(argv, env=ENVIRONMENT)
    proxy.cut_at(at, process.kill)
    process.wait()
    run(argv)


def check_for_nothing(folder: Path, server: RegistryServer, targets: Targets) -> None:
    """`upgrade --check` on an installed system."""
    Registry(server, Layout(folder / "os")).publish("1")
    with CountingProxy(server.address) as proxy, host_on_disk(folder / "host", proxy.address) as host:
        host.install(f"docker://{proxy.address}/os:latest")
        before = (proxy.requests, proxy.up, proxy.down)
        host.do("upgrade", "--check")
        requests, up, down = (
            now - then for now, then in zip((proxy.requests, proxy.up, proxy.down), before, strict=True)
        )
    targets.check("requests", requests, 1)
    targets.check("sent", up, 1024, " bytes")
    targets.check("received", down, 1024, " bytes")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5, help="on loopback, and cuts of each kind")
    parser.add_argument("--slow-rounds", type=int, default=2, help="on the slow link")
    parser.add_argument("--size", type=int, default=200, help="of the image's content, in MiB")
    parser.add_argument("--rate", type=float, default=50, help="of the slow link, in Mbit/s")
    parser.add_argument("--delay", type=float, default=40, help="of the slow link, there and back, in ms")
    given = parser.parse_args(arguments)
    move_to_own_network()
    targets = Targets()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bootc-bench-", dir="/var/tmp")))
        layout = Layout(folder / "layout")
        images = add_images(layout, choose(given.size * MIB))
        server = stack.enter_context(RegistryServer(folder / "registry", host=FAR))
        for tag in images:
            server.push(layout.folder, tag, f"bench:{tag}")
        reference = f"docker://{server.address}/bench:gzip"
        print(f"image: {len(images['gzip'].layers)} layers, {_size(images['gzip']) / 1e6:.0f} MB as gzip; on loopback:")
        fast = race(folder, reference, given.rounds, None)
        targets.check(f"{OURS}{STARTED} / {SKOPEO}", fast[OURS + STARTED] / fast[SKOPEO], 0.7)
        targets.check(f"{IMPORT}{STARTED} / {UNPACKED}", fast[IMPORT + STARTED] / fast[UNPACKED], 0.7)
        link = stack.enter_context(slow_link(given.rate * 1e6, given.delay / 2000))
        print(f"{link}; the bytes alone take {_size(images['gzip']) * 8 / link.rate:.2f} s:")
        slow = race(folder, reference, given.slow_rounds, link)
        for rival in (SKOPEO, PODMAN):
            targets.check(f"{IMPORT}{STARTED} / {rival}", slow[IMPORT + STARTED] / slow[rival], NO_SLOWER)
        print("an update in which one package of 1 % changed, on the slow link:")
        update(folder, server, images, link, given.slow_rounds, targets)
        print("cut at random moments, on loopback:")
        cuts(folder, server, given.rounds, targets)
        print("a check that finds nothing new:")
        check_for_nothing(folder, server, targets)
    print("load average: " + ", ".join(f"{load:.1f}" for load in os.getloadavg()))
    return int(bool(targets.missed))


def _size(image: Image) -> int:
    return sum(layer.blob.size or 0 for layer in image.layers)


if __name__ == "__main__":
    sys.exit(main())
