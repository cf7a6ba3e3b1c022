"""fs-verity digests against published and independently computed ones, and the kernel's answers in words."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import struct
from pathlib import Path

import pytest
from bootc_composefs.failures import VerityBusyError, VerityError, VerityMissingError, VerityUnsupportedError
from bootc_composefs.fsverity import (
    Algorithm,
    VerityHash,
    digest_of,
    digest_of_stream,
    enable,
    explain,
    measure,
    unsupported_reason,
)

from bootc.errors import BootcError, FileSystemError, NoSpaceError

SIZES = (0, 1, 4095, 4096, 4097, 64 * 4096, 64 * 4096 + 1, 128 * 4096, 128 * 4096 + 1, 64 * 64 * 4096 + 1)


def reference(data: bytes, algorithm: Algorithm) -> bytes:
    """The definition of the kernel's documentation, with the whole tree in memory."""
    level = [data[start : start + 4096] for start in range(0, len(data), 4096)]
    hashes = b""
    while level:
        hashes = b"".join(hashlib.new(algorithm.value, block.ljust(4096, b"\0")).digest() for block in level)
        level = [hashes[start : start + 4096] for start in range(0, len(hashes), 4096)] if len(level) > 1 else []
    descriptor = struct.pack("<BBBBIQ64s", 1, algorithm.number, 12, 0, 0, len(data), hashes).ljust(256, b"\0")
    return hashlib.new(algorithm.value, descriptor).digest()


def test_an_empty_file_has_the_published_digest() -> None:
    assert digest_of(b"").hex() == "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"
    assert (
        digest_of(b"", Algorithm.SHA512).hex().startswith("ccf9e5aea1c2a64efa2f2354a6024b90dffde6bbc017825045dce3744")
    )


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("size", SIZES)
def test_digests_of_pieces_follow_the_definition(size: int, algorithm: Algorithm) -> None:
    chance = random.Random(size)
    data = chance.randbytes(size)
    verity, position = VerityHash(algorithm), 0
    while position < size:
        step = chance.choice((1, 100, 4096, 5000, 1 << 18, 1 << 20))
        verity.update(memoryview(data)[position : position + step])
        position += step
    expected = reference(data, algorithm)
    assert (verity.digest(), verity.size) == (expected, size)
    assert digest_of(data, algorithm) == expected
    assert digest_of_stream(io.BytesIO(data), algorithm) == expected


def test_a_digest_can_be_taken_on_the_way() -> None:
    verity = VerityHash()
    for count in range(1, 300):
        verity.update(b"x" * 4000)
        if count % 37 == 0:
            assert verity.digest() == reference(b"x" * 4000 * count, Algorithm.SHA256)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENODATA, VerityMissingError),
        (errno.ENOTTY, VerityUnsupportedError),
        (errno.EOPNOTSUPP, VerityUnsupportedError),
        (errno.ENOPKG, VerityUnsupportedError),
        (errno.ETXTBSY, VerityBusyError),
        (errno.EIO, VerityError),
        (errno.ENOSPC, NoSpaceError),
    ],
)
def test_what_the_kernel_refuses_has_a_type_and_a_path(code: int, expected: type[BootcError]) -> None:
    error = explain(OSError(code, "?"), "/objects/ab/cd")
    assert type(error) is expected
    assert "/objects/ab/cd" in error.message


def test_a_filesystem_without_verity_says_so() -> None:
    """/proc cannot have it in any kernel; a directory there is no place for files at all."""
    descriptor = os.open("/proc/self/status", os.O_RDONLY)
    try:
        with pytest.raises(VerityUnsupportedError, match="has no fs-verity"):
            enable(descriptor, path="status")
        with pytest.raises(VerityUnsupportedError, match="has no fs-verity"):
            measure(descriptor, "status")
    finally:
        os.close(descriptor)
    with pytest.raises(FileSystemError, match="Operation not permitted"):
        unsupported_reason(Path("/proc/self"))


def test_the_answer_for_a_directory_is_what_happens_to_a_file_in_it(tmp_path: Path) -> None:
    """Whatever this machine can: where the probe sees no obstacle, the kernel agrees with the digest of user space."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 10_000)
    reason = unsupported_reason(tmp_path)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        if reason is None:
            with pytest.raises(VerityMissingError):
                measure(descriptor)
            enable(descriptor)
            enable(descriptor)
            assert measure(descriptor) == (Algorithm.SHA256, digest_of(b"x" * 10_000))
        else:
            with pytest.raises(VerityUnsupportedError) as caught:
                enable(descriptor, path="file")
            assert caught.value.problem == reason
    finally:
        os.close(descriptor)
    assert list(tmp_path.iterdir()) == [file]
