"""Random changes of an input: bytes, words of the samples, and numbers at the edge of what fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from random import Random

from tests.unit.layer_samples import with_checksum

LIMIT = 1 << 16
"""bytes of an input"""

_WORD = re.compile(rb"[\w.@/+-]+|[^\w\s]")
_EDGES = (
    *(b"", b"0", b"-1", b"00", b"1.5", b"1e999", b"NaN", b"null", b"true", b'""', b"[]", b"{}", b"..", b"/", b"\0"),
    *(b"\n", b"\xff", b"\xc2\xa0", b"\\ud800", b"\x80" + bytes(11), b"9" * 20, b"[" * 2000, b"a" * 300),
    *(str(number + step).encode() for number in (1 << 31, 1 << 32, 1 << 53, 1 << 63, 1 << 64) for step in (-1, 0)),
)


def words_of(samples: Iterable[bytes]) -> tuple[bytes, ...]:
    """What the samples are written in, and what parsers stumble over."""
    return tuple(sorted({word for sample in samples for word in _WORD.findall(sample)})) + _EDGES


def changed(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    """The same with one to four changes."""
    for _ in range(chance.randint(1, 4)):
        data = chance.choice(_CHANGES)(data, chance, words)[:LIMIT]
    return data


def with_right_checksums(data: bytes) -> bytes:
    """What looks like a tar header gets the checksum that makes it one."""
    blocks = [data[start : start + 512] for start in range(0, len(data), 512)]
    return b"".join(with_checksum(block) if block[257:262] == b"ustar" else block for block in blocks)


def _bytes(data: bytes, chance: Random, _: Sequence[bytes]) -> bytes:
    start, end = _span(data, chance, 8)
    return data[:start] + chance.randbytes(end - start) + data[end:]


def _inserted(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    start, _ = _span(data, chance, 0)
    return data[:start] + chance.choice(words) + data[start:]


def _overwritten(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    """Fields of fixed length stay where they are."""
    start, _ = _span(data, chance, 0)
    word = chance.choice(words)
    return data[:start] + word + data[start + len(word) :]


def _word(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    """One word instead of another."""
    found = list(_WORD.finditer(data))
    if not found:
        return data
    old = chance.choice(found)
    return data[: old.start()] + chance.choice(words) + data[old.end() :]


def _removed(data: bytes, chance: Random, _: Sequence[bytes]) -> bytes:
    start, end = _span(data, chance, len(data))
    return data[:start] + data[end:]


def _repeated(data: bytes, chance: Random, _: Sequence[bytes]) -> bytes:
    start, end = _span(data, chance, len(data))
    at, _end = _span(data, chance, 0)
    return data[:at] + data[start:end] + data[at:]


def _block(data: bytes, chance: Random, _: Sequence[bytes]) -> bytes:
    """A block of a tar archive in another place."""
    start, at = (chance.randint(0, len(data) // 512) * 512 for _ in range(2))
    return data[:at] + data[start : start + 512] + data[at:]


def _span(data: bytes, chance: Random, longest: int) -> tuple[int, int]:
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.randint(0, longest))


_CHANGES: Sequence[Callable[[bytes, Random, Sequence[bytes]], bytes]] = (
    *(_bytes, _inserted, _overwritten, _word, _removed, _repeated, _block),
)
