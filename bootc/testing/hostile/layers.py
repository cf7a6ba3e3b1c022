"""Layers: how a manifest names them, and what is in them."""

from __future__ import annotations

import gzip
import zlib

from bootc.errors import FetchError, IntegrityError, NoSpaceError, UnsupportedError
from bootc.testing.hostile.case import REFUSED, RIGHT, SAFE, case, error
from bootc.testing.hostile.knobs import diff_ids, layer, layer_named, layer_twice, layers_named, manifest
from bootc.testing.hostile.values import BAD_DIGESTS, BAD_SIZES, ZERO
from bootc.testing.registry import digest_of

_BOMB = 256 << 20
"""bytes of zeros"""
_BOMB_CONTENT = "sha256:a6d72ac7690f53be6ae46ba88506bd97302a093f7108472bd9efc3cefda06484"
_SMALL = b"small layer" * 1000
_NO_TAR = digest_of(_SMALL)

NAMED = (
    case("layers: none", REFUSED, layers_named(list.clear), diff_ids(lambda ids: [])),
    case("layers: null", REFUSED, layers_named(list.clear), manifest(layers=None)),
    case("layers: an object", REFUSED, manifest(layers={})),
    case("layers: texts", REFUSED, manifest(layers=["a", "b"])),
    case("layers: a hundred thousand", REFUSED, manifest(layers=[{}] * 100_000)),
    case(
        "layers: five thousand times the same",
        REFUSED,
        layers_named(lambda layers: layers.extend(layers[:1] * 5000)),
        diff_ids(lambda ids: [*ids, *ids[:1] * 5000]),
    ),
    case("layers: one is there twice", RIGHT, layer_twice()),
    case("layers: in another order than the diffIDs", error(IntegrityError), layers_named(list.reverse)),
    *(case(f"layer: digest {name}", REFUSED, layer_named(digest=text)) for name, text in BAD_DIGESTS.items()),
    case("layer: one that is not there", REFUSED, layer_named(digest=ZERO)),
    *(case(f"layer: size {name}", REFUSED, layer_named(size=size)) for name, size in BAD_SIZES.items()),
    case("layer: no size", REFUSED, layers_named(lambda layers: layers[0].pop("size"))),
    case("layer: size 0", REFUSED, layer_named(size=0)),
    case("layer: size 1", REFUSED, layer_named(size=1)),
    case(
        "layer: a byte longer than it is",
        REFUSED,
        layers_named(lambda layers: layers[0].update(size=layers[0]["size"] + 1)),
    ),
    case(
        "layer: a byte shorter than it is",
        REFUSED,
        layers_named(lambda layers: layers[0].update(size=layers[0]["size"] - 1)),
    ),
    case("layer: 999 TiB", error(FetchError, NoSpaceError), layer_named(size=999 << 40)),
    case(
        "layer: foreign, with addresses",
        REFUSED,
        layer_named(
            mediaType="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls=["http://127.0.0.3:9/layer"]
        ),
    ),
    case(
        "layer: not to be distributed",
        REFUSED,
        layer_named(mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
    ),
    case("layer: with addresses", SAFE, layer_named(urls=["http://127.0.0.3:9/layer"])),
    case("layer: addresses of files", SAFE, layer_named(urls=["file:///etc/passwd"])),
    case("layer: encrypted", REFUSED, layer_named(mediaType="application/vnd.oci.image.layer.v1.tar+gzip+encrypted")),
    case("layer: an unknown type", REFUSED, layer_named(mediaType="application/x-unknown")),
    case("layer: of no type", REFUSED, layer_named(mediaType="")),
    case("layer: a type with escapes", REFUSED, layer_named(mediaType="\x1b[31mtar")),
    case("layer: called zstd, but gzip", SAFE, layer_named(mediaType="application/vnd.oci.image.layer.v1.tar+zstd")),
    case("layer: called plain, but gzip", SAFE, layer_named(mediaType="application/vnd.oci.image.layer.v1.tar")),
    case("layer: annotations that are no texts", REFUSED, layer_named(annotations={"x": {}})),
    case("layer: data in the manifest that is another's", SAFE, layer_named(data="bm90IHRoaXM=")),
)
"""how the manifest names them"""


def zstd_zeros(size: int, window: int = 0x38) -> bytes:
    """Zeros in a frame of RFC 8878: 128 KiB in each 4 bytes. `window` is the byte of the window descriptor."""
    block = 128 << 10
    count = size // block
    blocks = b"".join(
        (block << 3 | 1 << 1 | (number == count - 1)).to_bytes(3, "little") + b"\0" for number in range(count)
    )
    return b"\x28\xb5\x2f\xfd\x00" + bytes([window]) + blocks


def _gzip(size: int) -> bytes:
    """Zeros in members of 1 MiB each, 1000 times smaller."""
    return gzip.compress(bytes(1 << 20), mtime=0) * (size >> 20)


def _altered(data: bytes, position: int) -> bytes:
    """One bit is another."""
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


_SKIPPED = b"\x50\x2a\x4d\x18\x05\0\0\0skip!"
"""a skippable frame (RFC 8878, 3.1.2)"""


_ZSTD, _ZSTD_CONTENT = zstd_zeros(1 << 20), digest_of(bytes(1 << 20))

INSIDE = (
    case("gzip: 256 MiB of zeros", RIGHT, layer(_gzip(_BOMB), _BOMB_CONTENT)),
    case("gzip: 256 MiB of zeros under another diffID", error(IntegrityError), layer(_gzip(_BOMB), ZERO)),
    case("zstd: 256 MiB of zeros", RIGHT, layer(zstd_zeros(_BOMB), _BOMB_CONTENT)),
    case("zstd: 256 MiB of zeros under another diffID", error(IntegrityError), layer(zstd_zeros(_BOMB), ZERO)),
    case("zstd: a window of 2 GiB", REFUSED, layer(zstd_zeros(1 << 20, window=0xA8), _ZSTD_CONTENT)),
    case("zstd: a window of 3.75 TiB", REFUSED, layer(zstd_zeros(1 << 20, window=0xFF), _ZSTD_CONTENT)),
    case("zstd: cut", REFUSED, layer(_ZSTD[:-3], _ZSTD_CONTENT)),
    case("zstd: skippable frames around it", RIGHT, layer(_SKIPPED + _ZSTD + _SKIPPED, _ZSTD_CONTENT)),
    case("zstd: noise behind it", REFUSED, layer(_ZSTD + b"noise", _ZSTD_CONTENT)),
    case(
        "zstd: a skippable frame that says it has 4 GiB",
        SAFE,
        layer(_ZSTD + b"\x50\x2a\x4d\x18\xff\xff\xff\xff", _ZSTD_CONTENT),
    ),
    case("gzip: cut", REFUSED, layer(gzip.compress(_SMALL)[:-10], _NO_TAR)),
    case("gzip: noise behind it", REFUSED, layer(gzip.compress(_SMALL) + b"noise", _NO_TAR)),
    case("gzip: zeros behind it", RIGHT, layer(gzip.compress(_SMALL) + bytes(1000), _NO_TAR)),
    case("gzip: two members", RIGHT, layer(gzip.compress(_SMALL[:100]) + gzip.compress(_SMALL[100:]), _NO_TAR)),
    case("gzip: a wrong checksum", REFUSED, layer(_altered(gzip.compress(_SMALL), -5), _NO_TAR)),
    case("gzip: a wrong length", REFUSED, layer(_altered(gzip.compress(_SMALL), -1), _NO_TAR)),
    case("gzip: only its first bytes", REFUSED, layer(b"\x1f\x8b\x08", _NO_TAR)),
    case("gzip: within gzip", error(IntegrityError), layer(gzip.compress(gzip.compress(_SMALL)), _NO_TAR)),
    case("zlib instead of gzip", error(IntegrityError), layer(zlib.compress(_SMALL), _NO_TAR)),
    case("xz instead of gzip", error(UnsupportedError), layer(b"\xfd7zXZ\x00" + bytes(100), _NO_TAR)),
    case("bzip2 instead of gzip", error(UnsupportedError), layer(b"BZh9" + bytes(100), _NO_TAR)),
    case("plain instead of gzip", RIGHT, layer(_SMALL, _NO_TAR)),
    case("an empty blob", RIGHT, layer(b"", digest_of(b""))),
    case(
        "the diffID is the compressed blob's",
        error(IntegrityError),
        layer(gzip.compress(_SMALL), digest_of(gzip.compress(_SMALL))),
    ),
)
"""what is in them"""
