"""Blobs side by side, cut, killed and continued, slowed down; over IPv6 and through proxies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from bootc.errors import NetworkError
from bootc.events import Event, LayerFetched, RequestMade
from bootc.host import Signals
from bootc.image import ImageReference, Layer
from bootc.streams import FetchedLayers
from bootc.testing.registry import (
    REPOSITORY,
    Action,
    Bearer,
    FakeRegistry,
    Received,
    Reply,
    answers,
    cut_after,
    digest_of,
    holds,
    unanswered,
)
from tests.integration.registry_fetching import AMD64, fetching, pull, read
from tests.servers import make_certificate

MIB = 1 << 20
LAYER = os.urandom(5 * MIB)
LAYER_PATH = f"blobs/{digest_of(LAYER)}$"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        server.add_image("latest", LAYER)
        yield server


def _name(registry: FakeRegistry) -> str:
    return f"docker://{registry.address}/{REPOSITORY}:latest"


def _ranges(registry: FakeRegistry) -> list[str | None]:
    return [r.headers.get("range") for r in registry.received if r.path.endswith(digest_of(LAYER))]


def _layers(
    registry: FakeRegistry, root: Path, report: Callable[[Event], None] = lambda event: None, **options: Any
) -> list[bytes]:
    """All layers as a store gets them."""
    reference = ImageReference.parse(_name(registry))
    with fetching(root, report=report, **options) as fetcher, fetcher.resolve(reference, AMD64) as source:
        layers = source.image.layers
        with FetchedLayers(source, layers, root / "spool", report, lambda: None) as streams:
            return [_whole(streams, layer) for layer in layers]


def _whole(streams: FetchedLayers, layer: Layer) -> bytes:
    with streams.open(layer) as stream:
        return b"".join(iter(lambda: stream.read(MIB), b""))


# ---------------------------------------------------------------- side by side


def test_layers_are_fetched_side_by_side_on_connections_that_are_kept(registry: FakeRegistry, tmp_path: Path) -> None:
    """Four requests must be there before the first is answered."""
    layers = [os.urandom(100_000) for _ in range(8)]
    registry.add_image("latest", *layers)
    together = threading.Barrier(4)

    def meet(request: Received, reply: Reply) -> Reply:
        together.wait(30)
        return reply

    for layer in layers[:4]:
        registry.disturb(digest_of(layer), meet)
    assert _layers(registry, tmp_path) == layers
    assert not together.broken
    assert registry.connections <= 1 + 4, "one that spoke TLS to find out that the registry does not, and four"


def test_requests_and_bytes_are_told(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb(LAYER_PATH, cut_after(2 * MIB))
    events: list[Event] = []
    assert _layers(registry, tmp_path, events.append) == [LAYER]
    assert [event for event in events if event == RequestMade(digest_of(LAYER))] == [RequestMade(digest_of(LAYER))] * 2
    (told,) = [event for event in events if isinstance(event, LayerFetched)]
    assert told == LayerFetched(digest_of(LAYER), len(LAYER), len(LAYER), 0, told.seconds)


@pytest.mark.parametrize(
    "trouble", [answers(429, Retry_After="100"), holds(1000), unanswered], ids=["429", "in a blob", "before the answer"]
)
def test_a_store_that_fails_does_not_wait_for_other_layers(
    registry: FakeRegistry, tmp_path: Path, trouble: Action
) -> None:
    """The user gets its error at once, and the same fetcher can go on."""
    asked, recovered, signals = threading.Event(), threading.Event(), Signals()

    def troubled(request: Received, reply: Reply) -> Reply:
        asked.set()
        return reply if recovered.is_set() else trouble(request, reply)

    registry.add_image("latest", b"first", LAYER)
    registry.disturb(LAYER_PATH, troubled, is_forever=True)
    reference, check = ImageReference.parse(_name(registry)), signals.check_cancelled
    with (
        fetching(tmp_path, check_cancelled=check, read_timeout=60) as fetcher,
        fetcher.resolve(reference, AMD64) as source,
    ):
        layers, spool = source.image.layers, tmp_path / "spool"
        with (
            pytest.raises(ZeroDivisionError),
            FetchedLayers(source, layers, spool, lambda event: None, check, abandoned=signals.abandoned) as streams,
            streams.open(layers[0]),
        ):
            assert asked.wait(30)
            started = time.monotonic()
            raise ZeroDivisionError
        assert time.monotonic() - started < 20
        recovered.set()
        with FetchedLayers(source, layers, spool, lambda event: None, check, abandoned=signals.abandoned) as streams:
            assert [_whole(streams, layer) for layer in layers] == [b"first", LAYER]


# ---------------------------------------------------------------- continued


@pytest.mark.parametrize("refusal", [answers(416), answers(501)], ids=["416", "501"])
def test_a_server_without_ranges_is_asked_for_the_whole(
    registry: FakeRegistry, tmp_path: Path, refusal: Action
) -> None:
    """It is not tried again for this blob."""
    registry.disturb(LAYER_PATH, cut_after(MIB), refusal, cut_after(3 * MIB))
    with fetching(tmp_path) as fetcher:
        assert pull(fetcher, _name(registry)).layers == (LAYER,)
        assert _ranges(registry) == [None, f"bytes={MIB}-", None, None]
        registry.disturb(LAYER_PATH, refusal)
        with fetcher.resolve(ImageReference.parse(_name(registry)), AMD64) as source:
            assert read(source, source.image.layers[0].blob, 4 * MIB) == LAYER[4 * MIB :]
    assert _ranges(registry)[4:] == [f"bytes={4 * MIB}-", None]


def test_a_server_that_stalls_is_asked_for_the_rest_and_then_left(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.disturb(LAYER_PATH, holds(MIB), holds(0), is_forever=True)
    with pytest.raises(NetworkError, match=r"no answer in time \(2 tries\)"):
        _layers(registry, tmp_path, read_timeout=0.2, retries=1)
    assert _ranges(registry) == [None, f"bytes={MIB}-"]


@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
def test_what_came_is_given_before_a_server_stalls(tmp_path: Path, is_secure: bool) -> None:
    certificate = make_certificate(tmp_path) if is_secure else None
    with FakeRegistry(certificate) as registry:
        registry.add_image("latest", LAYER)
        registry.disturb(LAYER_PATH, holds(MIB + 5))
        reference = ImageReference.parse(_name(registry))
        with fetching(tmp_path, read_timeout=120.0) as fetcher, fetcher.resolve(reference, AMD64) as source:
            started, size = time.monotonic(), 0
            with source.open_blob(source.image.layers[0].blob) as stream:
                while size < MIB + 5:
                    size += len(stream.read(MIB))
            assert time.monotonic() - started < 60


CHILD = """
import sys
from pathlib import Path
from bootc.image import ImageReference, Layer
from bootc.streams import FetchedLayers
from tests.integration.registry_fetching import AMD64, fetching

root, name, wanted = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with fetching(root) as fetcher, fetcher.resolve(ImageReference.parse(name), AMD64) as source:
    (layer,) = source.image.layers
    with FetchedLayers(source, [layer], root / "spool", lambda event: None, lambda: None) as streams:
        with streams.open(layer) as stream:
            while wanted:
                wanted -= len(stream.read(wanted))
            print("here", flush=True)
            stream.read(1)
"""


@pytest.mark.parametrize("received", [MIB, 3 * MIB + 123_456, 5 * MIB - 1])
def test_after_a_kill_less_than_a_mib_is_fetched_again(registry: FakeRegistry, tmp_path: Path, received: int) -> None:
    registry.disturb(LAYER_PATH, holds(received))
    command = [sys.executable, "-c", CHILD, str(tmp_path), _name(registry), str(received)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n"
        child.send_signal(signal.SIGKILL)
    assert _layers(registry, tmp_path) == [LAYER]
    first, second = _ranges(registry)
    assert first is None
    assert second is not None
    assert received - MIB < int(second.removeprefix("bytes=").removesuffix("-")) <= received


# ---------------------------------------------------------------- slowed down


def test_a_limit_holds_for_all_connections_together(registry: FakeRegistry, tmp_path: Path) -> None:
    layers = [os.urandom(500_000) for _ in range(4)]
    registry.add_image("latest", *layers)
    started = time.monotonic()
    assert _layers(registry, tmp_path, limit="2 MB/s") == layers
    assert time.monotonic() - started >= 0.9


def test_a_limit_does_not_keep_the_user(registry: FakeRegistry, tmp_path: Path) -> None:
    done = threading.Event()
    ended: list[BaseException] = []

    def work(fetcher: object) -> None:
        try:
            pull(fetcher, _name(registry))  # type: ignore[arg-type]
        except BaseException as error:
            ended.append(error)
        done.set()

    with fetching(tmp_path, limit="1 kB/s") as fetcher:
        threading.Thread(target=work, args=(fetcher,), daemon=True).start()
        while not _ranges(registry):
            assert not done.wait(0.01)
        fetcher.close()
        assert done.wait(10)
    assert ended


# ---------------------------------------------------------------- IPv6


@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
def test_a_registry_at_an_address_of_ipv6(tmp_path: Path, is_secure: bool) -> None:
    certificate = make_certificate(tmp_path) if is_secure else None
    with FakeRegistry(certificate, host="::1") as registry:
        registry.bearer = Bearer()
        assert registry.address.startswith("[::1]:")
        registry.add_image("latest", LAYER)
        if certificate:
            directory = tmp_path / "etc/containers/certs.d" / registry.address
            directory.mkdir(parents=True)
            (directory / "ca.crt").write_bytes(certificate.certificate.read_bytes())
        registry.disturb(LAYER_PATH, cut_after(MIB))
        insecure = () if is_secure else ("[::1]",)
        with fetching(tmp_path, insecure=insecure) as fetcher:
            reference = ImageReference.parse(_name(registry))
            pulled = pull(fetcher, str(reference))
            assert pulled.layers == (LAYER,)
            assert fetcher.peek(reference) == pulled.image.top_digest
            pinned = evolve(reference, name=f"{registry.address}/{REPOSITORY}@{pulled.image.digest}")
            assert pull(fetcher, str(pinned)).layers == (LAYER,)
