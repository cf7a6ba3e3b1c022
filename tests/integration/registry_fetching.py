"""The registry fetcher as the core opens it, on a root directory of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import frozen
from bootc_registry.fetcher import RegistryFetcher
from bootc_registry.options import RegistryOptions

from bootc.durable import DirectoryVolume
from bootc.events import Event
from bootc.fetcher import Source
from bootc.hookspec import Context
from bootc.image import Descriptor, Image, ImageReference
from bootc.machine import Machine
from bootc.platform import Platform

AMD64 = Platform("x86_64", "amd64", (), "x86_64", "", "x64")
ARM64 = Platform("aarch64", "arm64", ("v8",), "aarch64", "", "aa64")
QUICK = {"insecure": ("127.0.0.1",), "backoff": 0.001, "connect_timeout": 10.0, "read_timeout": 10.0}


@contextmanager
def fetching(
    root: Path,
    *,
    report: Callable[[Event], None] = lambda event: None,
    check_cancelled: Callable[[], None] = lambda: None,
    run: Path | None = None,
    **options: Any,
) -> Iterator[RegistryFetcher]:
    """A fetcher whose configuration lies below `root`; everything is accepted unless there is a policy.json already."""
    policy = root / "etc/containers/policy.json"
    if not policy.exists():
        policy.parent.mkdir(parents=True, exist_ok=True)
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    machine = Machine(DirectoryVolume(root), PurePosixPath("state"), run)
    fetcher = RegistryFetcher(Context(machine, report, check_cancelled), RegistryOptions(**{**QUICK, **options}), root)
    with closing(fetcher):
        yield fetcher


@frozen
class Pulled:
    """An image, and the bytes of its layers."""

    image: Image
    layers: tuple[bytes, ...]


def pull(fetcher: RegistryFetcher, reference: str, platform: Platform = AMD64) -> Pulled:
    """Everything of an image, read as the core does."""
    with fetcher.resolve(ImageReference.parse(reference), platform) as source:
        return Pulled(source.image, tuple(read(source, layer.blob) for layer in source.image.layers))


def read(source: Source, blob: Descriptor, start: int = 0, size: int = 1 << 16) -> bytes:
    """One blob, in pieces."""
    with source.open_blob(blob, start) as stream:
        return b"".join(iter(lambda: stream.read(size), b""))
