"""`make demo`: the whole story in front of one's eyes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tests.servers import RegistryServer
from tests.vm.machine import VirtualMachine
from tests.vm.story import Parts, Story, Teller, build_image, closing_power, tell


def main() -> None:
    """Tell the story with the parts that the environment names: SUITE, BOOTLOADER, FETCHER, FILESYSTEM, BACKEND."""
    suite = os.environ.get("SUITE") or "trixie"
    parts = Parts(
        bootloader=os.environ.get("BOOTLOADER") or None,
        fetcher=os.environ.get("FETCHER") or "registry",
        filesystem=os.environ.get("FILESYSTEM") or "ext4",
        backend=os.environ.get("BACKEND") or "ostree",
    )
    teller = Teller()
    with tempfile.TemporaryDirectory(prefix="bootc-demo-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        with RegistryServer(folder / "registry") as registry:
            with teller.step(f"the sample image is built from Debian {suite} (the first time takes some minutes)"):
                layout = build_image(folder, suite, registry.port)
            story = Story(folder, layout, parts, teller)
            with closing_power(VirtualMachine(story.disk, folder / "machine")) as machine:
                tell(story, registry, machine)
    teller.say("==> done: installed, booted, upgraded, rolled back")


if __name__ == "__main__":
    main()
