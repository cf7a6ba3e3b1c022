"""The skopeo fetcher: every transport that skopeo knows, through its image proxy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bootc_containers.explanation import Configuration
from bootc_containers.places import Places
from bootc_containers.policy import Policy
from bootc_containers.verification import Decision

from bootc.errors import IntegrityError, PolicyError, ProtocolError
from bootc.events import Notice
from bootc.fetcher import Explain, Fetcher, Readable, Source
from bootc.hookspec import Context
from bootc.image import Descriptor, Digest, Image, ImageReference, Layer
from bootc.manifest import OCI_MANIFEST, Manifest, diff_ids, parse, strict_json
from bootc.platform import Platform
from bootc_skopeo.blob import BlobStream
from bootc_skopeo.connection import Connection
from bootc_skopeo.handover import Handover
from bootc_skopeo.invocation import Invocation, credentials
from bootc_skopeo.options import Options
from bootc_skopeo.pool import Pool
from bootc_skopeo.proxy import Proxy
from bootc_skopeo.waiting import attempt

_STORES = ("containers-storage", "docker-archive", "docker-daemon")
"""transports that serve other blobs than their manifests name: layers lie there uncompressed"""
_ENFORCING_LEVEL = 6
"""since protocol 0.2.6 (skopeo 1.13) OpenImage evaluates the policy; before, nothing did"""


class SkopeoSource(Source):
    """An image that skopeo has open."""

    def __init__(self, image: Image, pool: Pool, context: Context, retries: Sequence[float]) -> None:
        self.image = image
        self.is_local = image.reference.transport != "registry"
        self._pool, self._context, self._retries = pool, context, retries

    @contextmanager
    def open_blob(self, blob: Descriptor, start: int = 0) -> Iterator[Readable]:
        stream = BlobStream(self._pool, blob, start, self._retries, self._context.check_cancelled)
        try:
            yield stream
        finally:
            stream.close()


class SkopeoFetcher(Fetcher, Explain):
    """Starts skopeo for each image. `program` is its name or path, `retries` the seconds before each new attempt.

    The policy is evaluated here as far as no signature is needed. Signatures are verified by skopeo when it opens an
    image, if it is new enough to do that.
    """

    def __init__(
        self, context: Context, options: Options, program: str = "skopeo", retries: Sequence[float] = (1.0, 4.0)
    ) -> None:
        self._context, self._options, self._program, self._retries = context, options, program, retries
        self._pools: list[Pool] = []

    @contextmanager
    def resolve(self, reference: ImageReference, platform: Platform) -> Iterator[Source]:
        decision = Policy.load().applying(reference)
        handover = None
        if reference.transport == "registry":
            handover = Handover.of(reference, Places(), self._options.insecure, decision.needs_signatures)
        invocation = Invocation(
            self._program, self._options, reference, platform, decision.source, credentials(self._options), handover
        )
        pool = Pool(lambda temporary: self._start(invocation, decision, temporary))
        self._pools.append(pool)
        try:
            verdict = _verdict(decision)
            image = attempt(lambda: self._image(pool, reference, verdict), self._retries, self._context.check_cancelled)
            yield SkopeoSource(image, pool, self._context, self._retries)
        finally:
            pool.close()
            self._pools.remove(pool)

    def close(self) -> None:
        for pool in self._pools:
            pool.close()

    def explain(self, reference: ImageReference) -> Mapping[str, str]:
        """What the files of container tools say of this image; skopeo is told the same."""
        return Configuration(Places(), self._options.credential_files, self._options.insecure).explain(reference)

    def _start(self, invocation: Invocation, decision: Decision, temporary: Path) -> Connection:
        name = invocation.reference.display
        proxy = Proxy(invocation.command(temporary), name, self._context.check_cancelled, invocation.patience)
        try:
            if decision.needs_signatures and proxy.level < _ENFORCING_LEVEL:
                problem = f"the policy requires {decision.kinds} ({decision.where}), which this skopeo does not verify"
                hint = f"see {decision.source}; skopeo 1.13 and the fetcher `registry` verify signatures"
                raise PolicyError(decision.reference.display, problem, hint)
            return Connection.open(proxy, invocation.name)
        except BaseException:
            proxy.close()
            raise

    def _image(self, pool: Pool, reference: ImageReference, verdict: str) -> Image:
        connection = pool.take()
        is_sound = False
        try:
            image = self._described(connection, reference, verdict)
            is_sound = True
            return image
        finally:
            pool.give_back(connection, is_sound)

    def _described(self, connection: Connection, reference: ImageReference, verdict: str) -> Image:
        name = reference.display
        digest, data = connection.manifest()
        is_converted = not _matches(data, digest)
        manifest = parse(data, None, name)
        if not isinstance(manifest, Manifest):
            raise ProtocolError(name, "skopeo: an index where an image was asked for")
        if is_converted:
            self._note_conversion(data, digest, name)
        config = connection.config(manifest.config, is_converted)
        if not _matches(config, manifest.config.digest):
            raise IntegrityError(name, f"config does not have the digest {manifest.config.digest}")
        return Image(
            digest=digest,
            manifest=data,
            config=config,
            reference=reference,
            top_digest=None,
            layers=_layers(connection, reference, manifest, diff_ids(config, manifest, name)),
            verdict=verdict,
        )

    def _note_conversion(self, data: bytes, digest: Digest, name: str) -> None:
        if strict_json(data, name).get("mediaType") != OCI_MANIFEST:
            raise IntegrityError(name, f"manifest does not have the digest {digest}")
        problem = f"{name}: skopeo converted the manifest to OCI; the image is known by its original digest {digest}"
        self._context.report(Notice(problem))


def _verdict(decision: Decision) -> str:
    return f"{decision.kinds}, by skopeo ({decision.where})" if decision.needs_signatures else decision.verdict


def _layers(
    connection: Connection, reference: ImageReference, manifest: Manifest, contents: tuple[Digest, ...]
) -> tuple[Layer, ...]:
    blobs = connection.blobs(manifest, contents) if reference.transport in _STORES else manifest.layers
    return tuple(Layer(*parts) for parts in zip(manifest.layers, contents, blobs, strict=True))


def _matches(data: bytes, digest: Digest) -> bool:
    return hashlib.new(digest.algorithm, data).hexdigest() == digest.hex
