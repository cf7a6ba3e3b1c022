"""How fast layers are read and written, against the standard library's tarfile in the same run.

    python bench/layers.py [MEMBERS]

The archives are made up in memory like system images: mostly small files, deep paths, some links; once plain, once with
an extended attribute on one entry in ten, once with times in fractions of seconds, so that each entry has an extended
header. Rounds are interleaved, CPU time is measured, and each row shows its best round: a busy machine hurts all alike.
"""

from __future__ import annotations

import hashlib
import io
import random
import sys
import tarfile
import time
from collections.abc import Callable

from bootc.layers import END_OF_ARCHIVE, Entry, EntryKind, padding, read_layer, write_entry

ROUNDS = 5
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_"


def make_archive(members: int, *, with_xattrs: bool = False, nanoseconds: int = 0) -> bytes:
    """A tar of this many members with about 4 KiB in each file."""
    chance = random.Random(2)
    data = chance.randbytes(1 << 20)
    parts: list[bytes] = []
    directory = b"usr"
    for number in range(members):
        word = "".join(chance.choices(LETTERS, k=12)).encode()
        xattrs = {b"user.origin": b"%d" % number} if with_xattrs and number % 10 == 0 else {}
        owner = (0, 0, 1_700_000_000_000_000_000 + number // 50 * 1_000_000_000 + nanoseconds)
        if number % 12 == 0:
            directory = b"usr/lib/" + word + b"/python3/site-packages" if number % 24 else b"usr/share/doc/" + word
            parts.append(write_entry(Entry(directory, EntryKind.DIRECTORY, 0o755, *owner, xattrs=xattrs)))
        elif number % 12 == 1:
            link = Entry(directory + b"/" + word, EntryKind.SYMLINK, 0o777, *owner, target=b"../" + word, xattrs=xattrs)
            parts.append(write_entry(link))
        else:
            size = min(int(chance.expovariate(1 / 4096)), 60_000)
            parts.append(
                write_entry(Entry(directory + b"/" + word, EntryKind.FILE, 0o644, *owner, size, xattrs=xattrs))
            )
            parts.append(data[number : number + size] + padding(size))
    return b"".join(parts) + END_OF_ARCHIVE


def tarfile_headers(archive: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r|") as tar:
        return sum(1 for _ in tar)


def layer_headers(archive: bytes) -> int:
    return sum(not entry.is_implied for entry, _ in read_layer(io.BytesIO(archive)))


def tarfile_digests(archive: bytes) -> int:
    count = 0
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r|") as tar:
        for member in tar:
            count += 1
            if (file := tar.extractfile(member) if member.isfile() else None) is not None:
                digest = hashlib.sha256()
                while chunk := file.read(1 << 18):
                    digest.update(chunk)
    return count


def layer_digests(archive: bytes) -> int:
    count = 0
    for entry, content in read_layer(io.BytesIO(archive)):
        count += not entry.is_implied
        if entry.kind is EntryKind.FILE:
            content.copy_to(hashlib.sha256().update)
    return count


def tarfile_rewrite(archive: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r|") as tar:
        return sum(1 for member in tar if member.tobuf(tarfile.PAX_FORMAT))


def layer_rewrite(archive: bytes) -> int:
    return sum(1 for entry, _ in read_layer(io.BytesIO(archive)) if not entry.is_implied and write_entry(entry))


PAIRS: dict[str, tuple[Callable[[bytes], int], Callable[[bytes], int]]] = {
    "read headers": (tarfile_headers, layer_headers),
    "read headers, sha256 of each file": (tarfile_digests, layer_digests),
    "read headers, write them again": (tarfile_rewrite, layer_rewrite),
}


def main() -> None:
    members = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    archives = {
        "plain": make_archive(members),
        "1 in 10 with xattrs": make_archive(members, with_xattrs=True),
        "all with extended headers": make_archive(members, nanoseconds=123_456_789),
    }
    for title, archive in archives.items():
        print(f"{members} members, {title}, {len(archive) / 1e6:.0f} MB; thousand members per second")
        for name, pair in PAIRS.items():
            best = [float("inf"), float("inf")]
            for _ in range(ROUNDS):
                for side, read in enumerate(pair):
                    start = time.process_time()
                    assert read(archive) == members
                    best[side] = min(best[side], time.process_time() - start)
            rates = [members / seconds / 1000 for seconds in best]
            print(f"  {name:<36} tarfile {rates[0]:6.1f}   layers {rates[1]:6.1f}   ratio {rates[1] / rates[0]:.1f}")


if __name__ == "__main__":
    main()
