"""Fetch all layers of an image to nowhere. The registry may speak plain HTTP.

usage: bench/fetch_job.py REFERENCE FOLDER plain|blobs|layers

plain: GETs, and nothing is looked at; blobs: by the registry fetcher, each compared with its digest, as `skopeo copy`
does it; layers: as an import gets them, by way of a spool in FOLDER, decompressed and compared with the diffIDs, too.
FOLDER/seconds tells the time without the start of Python.
"""

from __future__ import annotations

import hashlib
import http.client
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from bootc_registry import PLUGIN
from bootc_registry.options import RegistryOptions

from bootc import platform
from bootc.durable import DirectoryVolume
from bootc.fetcher import Source
from bootc.hookspec import Context
from bootc.image import Descriptor, ImageReference
from bootc.machine import Machine
from bootc.streams import FetchedLayers

_CHUNK = 1 << 20
_PARALLEL = 4


def main(reference: str, folder: str, mode: str) -> None:
    started = time.perf_counter()
    parsed = ImageReference.parse(reference)
    authority = parsed.name.partition("/")[0]
    context = Context(Machine(DirectoryVolume(Path(folder)), PurePosixPath("state")), lambda event: None, lambda: None)
    fetcher = PLUGIN.open(context, RegistryOptions(insecure=(authority,)))
    with fetcher.resolve(parsed, platform.current()) as source:
        match mode:
            case "plain":
                _each_blob(source, lambda blob: _get(parsed.name, blob))
            case "blobs":
                _each_blob(source, lambda blob: _verify(source, blob))
            case "layers":
                _import(source, Path(folder), context)
            case _:
                raise SystemExit(f"no such mode: {mode}")
    fetcher.close()
    Path(folder, "seconds").write_text(str(time.perf_counter() - started))


def _each_blob(source: Source, work: Callable[[Descriptor], None]) -> None:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(work, [layer.blob for layer in source.image.layers]))


def _get(name: str, blob: Descriptor) -> None:
    authority, _, rest = name.partition("/")
    connection = http.client.HTTPConnection(authority)
    connection.request("GET", f"/v2/{rest.partition(':')[0]}/blobs/{blob.digest}")
    answer = connection.getresponse()
    while answer.read(_CHUNK):
        pass


def _verify(source: Source, blob: Descriptor) -> None:
    digest = hashlib.new(blob.digest.algorithm)
    with source.open_blob(blob) as stream:
        while data := stream.read(_CHUNK):
            digest.update(data)
    if digest.hexdigest() != blob.digest.hex:
        raise SystemExit(f"{blob.digest} is another blob")


def _import(source: Source, folder: Path, context: Context) -> None:
    """A layer that was read to its end counts as imported, also by the next run."""
    imported, spool = folder / "imported", folder / "spool"
    known = imported.read_text().split() if imported.exists() else []
    layers = [layer for layer in source.image.layers if str(layer.diff_id) not in known]
    with FetchedLayers(source, layers, spool, context.report, context.check_cancelled, _PARALLEL) as fetched:
        for layer in layers:
            with fetched.open(layer) as stream:
                while stream.read(_CHUNK):
                    pass
            with imported.open("a") as file:
                file.write(f"{layer.diff_id}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
