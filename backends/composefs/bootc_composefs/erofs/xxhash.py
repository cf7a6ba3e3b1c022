"""xxHash32, which EROFS filters the names of attributes with. For short inputs."""

from __future__ import annotations

import struct

_P1, _P2, _P3, _P4, _P5 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1
_MASK = 0xFFFFFFFF
_STRIPE = 16


def xxh32(data: bytes, seed: int) -> int:
    """The hash as the specification of the xxHash family defines it, 32 bits."""
    end = len(data) // _STRIPE * _STRIPE
    total = _stripes(data[:end], seed) if end else seed + _P5
    total += len(data)
    words = (len(data) - end) // 4
    for (word,) in struct.iter_unpack("<I", data[end : end + 4 * words]):
        total = _rotated(total + word * _P3, 17) * _P4
    for byte in data[end + 4 * words :]:
        total = _rotated(total + byte * _P5, 11) * _P1
    return _mixed(total & _MASK)


def _stripes(data: bytes, seed: int) -> int:
    lanes = [seed + _P1 + _P2, seed + _P2, seed, seed - _P1]
    for words in struct.iter_unpack("<4I", data):
        lanes = [_rotated(lane + word * _P2, 13) * _P1 & _MASK for lane, word in zip(lanes, words, strict=True)]
    return sum(_rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True))


def _rotated(value: int, bits: int) -> int:
    value &= _MASK
    return value << bits & _MASK | value >> 32 - bits


def _mixed(value: int) -> int:
    value = (value ^ value >> 15) * _P2 & _MASK
    value = (value ^ value >> 13) * _P3 & _MASK
    return value ^ value >> 16
