"""The most memory that fetching, importing and deploying take, for an image with layers of 1 GiB, with each fetcher.

usage: bench/memory.py [--size MIB] [--limit MIB]     as root; 1 if the limit is passed
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.integration.main_job import NAME, Registry, host_on_disk
from tests.integration.sysroots import Layout
from tests.large_image import add_large_image, peak_memory
from tests.servers import RegistryServer

MIB = 1 << 20


def measure(folder: Path, registry: Registry, fetcher: str, size: int) -> int:
    """Install a small image, upgrade to the large one; the sum over all programs, each at its highest."""
    registry.publish("1")
    with host_on_disk(folder, registry.server.address, fetcher, size=6 * size + 512 * MIB) as host:
        host.install(f"docker://{registry.name}")
        registry.server.push(registry.layout.folder, "large", NAME)
        started = time.perf_counter()
        peaks = peak_memory(host.argv("upgrade"))
        seconds = time.perf_counter() - started
    (folder / "disk").unlink()
    told = ", ".join(f"{name} {peak / MIB:.0f}" for name, peak in peaks.items())
    print(f"{fetcher:10} {sum(peaks.values()) / MIB:6.0f} MiB ({told}) in {seconds:.1f} s", flush=True)
    return sum(peaks.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each fetcher."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", type=int, default=1024, help="of each of the two large layers, in MiB")
    parser.add_argument("--limit", type=int, default=200, help="in MiB")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bootc-bench-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        with RegistryServer(folder / "registry") as server:
            registry = Registry(server, Layout(folder / "os"))
            add_large_image(registry.layout, "large", given.size * MIB)
            print(f"one layer of {given.size} MiB that cannot be compressed, one that nearly vanishes", flush=True)
            peaks = [
                measure(folder / fetcher, registry, fetcher, given.size * MIB) for fetcher in ("registry", "skopeo")
            ]
    return int(max(peaks) > given.limit * MIB)


if __name__ == "__main__":
    sys.exit(main())
