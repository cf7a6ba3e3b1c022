"""Fetch and verify all layers of an image to nowhere, as an import does; with `plain`, only get its blobs.

usage: bench/fetch_job.py REFERENCE FOLDER [plain]      FOLDER keeps the spool; the registry may speak plain HTTP
"""

from __future__ import annotations

import http.client
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from bootc_registry import PLUGIN
from bootc_registry.options import RegistryOptions

from bootc import platform
from bootc.durable import DirectoryVolume
from bootc.hookspec import Context
from bootc.image import Descriptor, ImageReference
from bootc.machine import Machine
from bootc.streams import FetchedLayers

_CHUNK = 1 << 20


def main(reference: str, folder: str, *mode: str) -> None:
    parsed = ImageReference.parse(reference)
    authority, _, name = parsed.name.partition("/")
    context = Context(Machine(DirectoryVolume(Path(folder)), PurePosixPath("state")), lambda event: None, lambda: None)
    fetcher = PLUGIN.open(context, RegistryOptions(insecure=(authority,)))
    with fetcher.resolve(parsed, platform.current()) as source:
        layers = source.image.layers
        if mode:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda layer: _get(authority, name.partition(":")[0], layer.blob), layers))
            return
        with FetchedLayers(source, layers, Path(folder), context.report, context.check_cancelled) as fetched:
            for layer in layers:
                with fetched.open(layer) as stream:
                    while stream.read(_CHUNK):
                        pass
    fetcher.close()


def _get(authority: str, repository: str, blob: Descriptor) -> None:
    connection = http.client.HTTPConnection(authority)
    connection.request("GET", f"/v2/{repository}/blobs/{blob.digest}")
    answer = connection.getresponse()
    while answer.read(_CHUNK):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
