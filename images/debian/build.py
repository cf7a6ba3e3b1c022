#!/usr/bin/python3
"""Builds versions 1 and 2 of the Debian sample image into an OCI layout. Run as root; README.md tells the story."""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import oci
import wheel
from layer import Layer, pack
from workshop import Step, Workshop, forget_old, locked

HERE = Path(__file__).resolve().parent
STEPS = HERE / "steps"
VERSIONS = ("1", "2")
# A mount namespace of its own, so that nothing stays mounted, whatever happens.
ENTER = """\
set -eu
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
for folder in run tmp var; do mount -t tmpfs tmpfs "$1/$folder"; done
exec chroot "$1" /bin/sh -s
"""


def shared_steps(suite: str, project: Path | None, epoch: int) -> list[Step]:
    """The layers that both versions share, lowest first."""
    packages = read_packages(suite)
    base = key([suite, str(epoch), *packages], [STEPS / "bootstrap.sh", STEPS / "conventions.sh"], "base")
    recipe = [HERE / "wheel.py", STEPS / "system-files.sh", STEPS / "initramfs.sh"]
    tools = key([base], [*([project] if project else []), *recipe], "bootc")
    site = key([tools], [STEPS / "site.sh"], "site")

    def make_base(tree: Path) -> None:
        command = ["sh", str(STEPS / "bootstrap.sh"), suite, str(tree), ",".join(packages)]
        subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)})
        subprocess.run(["chroot", str(tree), "/bin/sh", "-s"], stdin=(STEPS / "conventions.sh").open("rb"), check=True)
        copy_overlay("base", tree)

    def add_bootc(tree: Path) -> None:
        copy_overlay("bootc", tree)
        if project:
            install_project(project, tree, epoch)
        run_inside(tree, "initramfs.sh", epoch)

    def configure(tree: Path) -> None:
        copy_overlay("site", tree)
        run_inside(tree, "site.sh", epoch)

    return [Step(f"base-{suite}", base, make_base), Step("bootc", tools, add_bootc), Step("site", site, configure)]


def read_packages(suite: str) -> list[str]:
    """The packages of every suite and those of this one: a name per line, "#" starts a comment."""
    lists = [HERE / "packages" / f"{name}.txt" for name in ("base", suite)]
    lines = (
        line.partition("#")[0].strip() for path in lists if path.exists() for line in path.read_text().splitlines()
    )
    return [line for line in lines if line]


def key(words: Iterable[str], files: Iterable[Path], overlay: str) -> str:
    """A name for all that a layer is made of: words, files, an overlay of ours, and the way layers are packed."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b"\0")
    ours = sorted(path for path in (HERE / "root" / overlay).rglob("*") if path.is_file())
    for path in (HERE / "layer.py", *files, *ours):
        name = path.relative_to(HERE) if path.is_relative_to(HERE) else path.name
        digest.update(f"{name}\0{os.access(path, os.X_OK)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def copy_overlay(name: str, tree: Path) -> None:
    """Copy `root/NAME` onto the tree: owned by root, modes 0755 and 0644 whatever the checkout's umask was."""
    top = HERE / "root" / name
    for source in sorted(top.rglob("*")):
        target = tree / source.relative_to(top)
        if source.is_dir():
            target.mkdir(mode=0o755, exist_ok=True)
            continue
        shutil.copyfile(source, target)
        target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def run_inside(tree: Path, script: str, epoch: int) -> None:
    """Run one of the steps' scripts in the tree, with the kernel's file systems and empty /run, /tmp and /var."""
    environment = {"PATH": "/usr/sbin:/usr/bin", "LC_ALL": "C.UTF-8", "SYSTEMD_LOG_LEVEL": "warning"}
    command = ["unshare", "--mount", "--propagation=private", "/bin/sh", "-c", ENTER, "sh", str(tree)]
    with (STEPS / script).open("rb") as lines:
        subprocess.run(command, stdin=lines, check=True, env={**environment, "SOURCE_DATE_EPOCH": str(epoch)})


def install_project(project: Path, tree: Path, epoch: int) -> None:
    """Install the project's wheel for Debian's Python, compiled as `conventions.sh` does it, and its system files."""
    modules = "".join(f"/{module}\n" for module in wheel.install(project, tree))
    compiler = ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-i", "-"]
    subprocess.run(["chroot", str(tree), *compiler], input=modules, text=True, check=True)
    run_inside(tree, "system-files.sh", epoch)


def write_images(layout: oci.Layout, shared: Sequence[Layer], insecure: list[str], epoch: int) -> None:
    """Write the tags v1 and v2: the shared layers and, on top, the files in which the versions differ."""
    for number, version in enumerate(VERSIONS):
        created = epoch + number * 3600
        with tempfile.TemporaryDirectory(dir=layout.folder) as scratch:
            tree = Path(scratch, "tree")
            settings = tree / "usr/lib/bootc/config.d/50-demo.toml"
            settings.parent.mkdir(parents=True)
            settings.write_text(f"[fetchers.registry]\ninsecure = {json.dumps(insecure)}\n")
            copy_overlay(f"v{version}", tree)
            layers = [*shared, pack(tree, {}, Path(scratch), f"v{version}", created)]
            labels = {"containers.bootc": "1", "ostree.bootable": "1", "org.opencontainers.image.version": version}
            entry = layout.write_image(f"v{version}", layers, labels, created)
        print(f"v{version} {entry['digest']} {sum(layer.size for layer in layers)} bytes in {len(layers)} layers")


def monday() -> int:
    """The start of this week, in seconds: packages are taken anew once a week; SOURCE_DATE_EPOCH overrides it."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((today - timedelta(days=today.weekday())).timestamp())


def default_cache() -> Path:
    """BOOTC_IMAGE_CACHE, or bootc-images in the user's cache folder."""
    if given := os.environ.get("BOOTC_IMAGE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bootc-images"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=("trixie", "forky"), default="trixie")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="OCI layout to write v1 and v2 to")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="the project; without it the image has no bootc")
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--insecure-registry", action="append", metavar="HOST:PORT", help="default: 10.0.2.2:5000")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    os.umask(0o022)
    epoch = monday()
    given.cache.mkdir(parents=True, exist_ok=True)
    with locked(given.cache), tempfile.TemporaryDirectory(dir=given.cache, prefix="work-") as scratch:
        shared = Workshop(given.cache, Path(scratch, "tree"), epoch).layers(
            shared_steps(given.suite, given.wheel, epoch)
        )
        write_images(oci.Layout(given.output), shared, given.insecure_registry or ["10.0.2.2:5000"], epoch)
        forget_old(given.cache)


if __name__ == "__main__":
    main()
