"""How fast images of composefs are made, against mkcomposefs 1.0.8 over the same tree.

    python bench/composefs.py [NAMES]

The tree is made up like a system's: files in objects, small ones in the image, links, deep paths, labels. mkcomposefs
reads it from a dump, so its time has that in it; ours is shown apart. CPU time, rounds interleaved, best of each. Exits
with 1 when making the image takes over three times as long as mkcomposefs, or gives other bytes.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bootc_composefs.dump import read_dump, write_dump
from bootc_composefs.erofs import make_image
from bootc_composefs.fsverity import Algorithm, digest_of
from bootc_composefs.tree import Attributes, Directory, File, Object, Symlink

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.integration.get_mkcomposefs import command

ROUNDS = 7
LIMIT = 3.0


def make_tree(names: int) -> Directory:
    """A tree of this many names, a directory for each dozen."""
    chance = random.Random(2)
    labels = [{b"security.selinux": b"system_u:object_r:%s_t:s0\0" % kind} for kind in (b"usr", b"lib", b"etc", b"bin")]
    root = directory = Directory(Attributes(0o755, 0, 0, 0, labels[0]))
    known = [root]
    for number in range(names):
        label = chance.choice(labels) if chance.random() < 0.9 else labels[0] | {b"user.origin": b"%d" % number}
        attributes = Attributes(0o644, 0, 0, (1_700_000_000 + number // 50) * 10**9, label)
        name = b"%012x-%d" % (chance.getrandbits(48), number)
        if number % 12 == 0:
            directory = Directory(attributes)
            chance.choice(known[-200:]).children[name] = directory
            known.append(directory)
        elif number % 12 == 1:
            directory.children[name] = Symlink(attributes, b"../" + name)
        elif number % 12 == 2:
            directory.children[name] = File(attributes, 40, bytes(40))
        else:
            directory.children[name] = File(attributes, 1 + number, Object.of(chance.randbytes(32)))
    return root


def run_mkcomposefs(dump: Path, image: Path) -> float:
    """CPU seconds, user and system."""
    process = subprocess.Popen([*command("mkcomposefs"), "--from-file", "--min-version=1", str(dump), str(image)])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit("mkcomposefs failed")
    return usage.ru_utime + usage.ru_stime


def measured(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> int:
    names = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    tree = make_tree(names)
    lines, image = list(write_dump(tree)), make_image(tree)
    with tempfile.TemporaryDirectory() as folder:
        dump, output = Path(folder, "dump"), Path(folder, "image")
        dump.write_bytes(b"".join(lines))
        parts: dict[str, Callable[[], float]] = {
            "mkcomposefs": lambda: run_mkcomposefs(dump, output),
            "making the image": lambda: measured(lambda: make_image(tree)),
            "reading the dump": lambda: measured(lambda: read_dump(lines)),
            "its digest, sha256": lambda: measured(lambda: digest_of(image)),
            "its digest, sha512": lambda: measured(lambda: digest_of(image, Algorithm.SHA512)),
        }
        rounds = [{name: part() for name, part in parts.items()} for _ in range(ROUNDS)]
        is_same = image == output.read_bytes()
    best = {name: min(times[name] for times in rounds) for name in parts}
    print(f"{names} names, an image of {len(image)} bytes, {'the same' if is_same else 'DIFFERENT'} as mkcomposefs'")
    for name, seconds in best.items():
        print(f"  {name:<20} {seconds * 1000:8.1f} ms   ratio {seconds / best['mkcomposefs']:.2f}")
    return int(not is_same or best["making the image"] > LIMIT * best["mkcomposefs"])


if __name__ == "__main__":
    sys.exit(main())
