"""Clauses of what goes wrong, of stopping, and of a fetcher's life."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from bootc.errors import (
    AuthenticationError,
    BootcError,
    CancelledError,
    FetchError,
    NetworkError,
    NotFoundError,
    PolicyError,
)
from bootc.fetcher import Fetcher
from bootc.hookspec import Context
from bootc.image import ImageReference
from bootc.testing.fetcher_images import RegistryShelf, Shelf, make_sample, sha256
from bootc.testing.fetcher_place import (
    ACCEPT,
    AMD64,
    FetcherFixtures,
    Listener,
    OpenFetcher,
    Place,
    Task,
    is_same,
    read,
)
from bootc.testing.registry import Received, Reply, redirects
from bootc.testing.suite import clause

_USER, _PASSWORD = "somebody", "correct horse battery"


class FailureClauses(FetcherFixtures):
    """F17 to F21."""

    @clause("F17")
    def test_a_missing_image_is_not_found(self, fetcher: Fetcher, shelf: Shelf) -> None:
        with pytest.raises(NotFoundError), fetcher.resolve(shelf.missing(), AMD64):
            pass

    @clause("F17")
    def test_a_missing_blob_is_not_found(self, fetcher: Fetcher, shelf: Shelf) -> None:
        sample = make_sample("os", layers=1)
        reference = shelf.put("os", sample)
        shelf.keep(sha256(sample.blobs[0]), None)
        with fetcher.resolve(reference, AMD64) as source, pytest.raises(NotFoundError):
            read(source, source.image.layers[0].blob)

    @clause("F18")
    @pytest.mark.parametrize("password", [None, "wrong"])
    def test_a_registry_that_refuses_is_an_authentication_error(
        self, open_fetcher: OpenFetcher, context: Context, place: Place, remote: RegistryShelf, password: str | None
    ) -> None:
        reference = _private(remote)
        if password:
            place.log_in(remote.registry.address, _USER, password)
        fetcher = open_fetcher(context, place)
        with pytest.raises(AuthenticationError), fetcher.resolve(reference, AMD64):
            pass
        fetcher.close()

    @clause("F18")
    def test_credentials_are_used(
        self, open_fetcher: OpenFetcher, context: Context, place: Place, remote: RegistryShelf
    ) -> None:
        reference = _private(remote)
        place.log_in(remote.registry.address, _USER, _PASSWORD)
        fetcher = open_fetcher(context, place)
        with fetcher.resolve(reference, AMD64) as source:
            assert sha256(read(source, source.image.layers[0].blob)) == source.image.layers[0].blob.digest
        fetcher.close()

    @clause("F19")
    def test_an_unreachable_registry_is_a_network_error(
        self, fetcher: Fetcher, remote: RegistryShelf, place: Place
    ) -> None:
        with pytest.raises(NetworkError), fetcher.resolve(_unreachable(), AMD64):
            pass

    @clause("F20")
    def test_secrets_are_never_told(
        self,
        open_fetcher: OpenFetcher,
        context: Context,
        place: Place,
        remote: RegistryShelf,
        listener: Listener,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO)
        reference = _private(remote)
        place.log_in(remote.registry.address, _USER, "wr0ng-passw0rd")
        refused = _failure(open_fetcher(context, place), reference)
        place.log_in(remote.registry.address, _USER, _PASSWORD)
        away = f"http://{_unreachable().name.partition('/')[0]}/{{digest}}?signature=s1gnature"
        remote.registry.disturb("blobs", redirects(away), is_forever=True)
        lost = _failure(open_fetcher(context, place), reference)
        told = [f"{error} {error.hint} {error!r}" for error in (refused, lost)]
        everything = " ".join([*told, *map(repr, listener.events), caplog.text])
        assert not [secret for secret in ("wr0ng-passw0rd", _PASSWORD, "s1gnature") if secret in everything]

    @clause("F21")
    def test_what_the_policy_rejects_is_refused_before_any_blob(
        self, fetcher: Fetcher, shelf: Shelf, place: Place
    ) -> None:
        reference = shelf.put("os", make_sample("os"))
        place.set_policy("reject")
        with pytest.raises(PolicyError), fetcher.resolve(reference, AMD64):
            pass

    @clause("F21")
    def test_a_policy_for_one_registry_counts(self, fetcher: Fetcher, remote: RegistryShelf, place: Place) -> None:
        reference = remote.put("os", make_sample("os"))
        place.set_policy(ACCEPT, docker={f"{remote.registry.address}/fake": [{"type": "reject"}]})
        with pytest.raises(PolicyError), fetcher.resolve(reference, AMD64):
            pass
        assert not [request for request in remote.registry.received if "blobs" in request.path]

    @clause("F21")
    def test_a_demand_for_signatures_is_not_met_by_accepting_anything(self, fetcher: Fetcher, shelf: Shelf) -> None:
        plain = shelf.put("os", make_sample("os"))
        reference = ImageReference(plain.transport, plain.name, "containerPolicy")
        with pytest.raises(PolicyError), fetcher.resolve(reference, AMD64):
            pass


class LifeClauses(FetcherFixtures):
    """F22 to F24."""

    @clause("F22")
    @pytest.mark.parametrize("path", ["manifests", "blobs"])
    def test_cancellation_is_heard_while_a_server_is_silent(
        self, fetcher: Fetcher, remote: RegistryShelf, listener: Listener, path: str
    ) -> None:
        reference = remote.put("os", make_sample("os", layers=1))

        def cancels(request: Received, reply: Reply) -> Reply:
            listener.is_cancelled.set()
            return _silent(request, reply)

        remote.registry.disturb(path, cancels, is_forever=True)
        task = Task(lambda: _fetch(fetcher, reference)).start()
        task.wait()
        assert isinstance(task.error, CancelledError)

    @clause("F23")
    def test_close_ends_everything(
        self, open_fetcher: OpenFetcher, context: Context, place: Place, remote: RegistryShelf
    ) -> None:
        threads, children = set(threading.enumerate()), _children()
        fetcher = open_fetcher(context, place)
        reading = threading.Event()

        def stalls(request: Received, reply: Reply) -> Reply:
            reading.set()
            return _silent(request, reply)

        reference = remote.put("os", make_sample("os", layers=1))
        with ExitStack() as stack:
            source = stack.enter_context(fetcher.resolve(reference, AMD64))
            remote.registry.disturb("blobs", stalls, is_forever=True)
            task = Task(lambda: read(source, source.image.layers[0].blob)).start()
            assert reading.wait(20)
            fetcher.close()
            task.wait()
            assert isinstance(task.error, BootcError)
            fetcher.close()
        assert _children() <= children
        assert not [one for one in threading.enumerate() if one not in threads and one.is_alive() and not one.daemon]

    @clause("F24")
    def test_several_images_one_after_the_other(self, fetcher: Fetcher, shelf: Shelf) -> None:
        for name in ("one", "two", "one"):
            sample = make_sample(name)
            with fetcher.resolve(shelf.put(name, sample), AMD64) as source:
                assert is_same(read(source, source.image.layers[-1].blob), sample.blobs[-1])

    @clause("F24")
    def test_several_images_at_the_same_time(self, fetcher: Fetcher, shelf: Shelf) -> None:
        samples = [make_sample(name) for name in ("one", "two", "three")]
        with ExitStack() as stack:
            references = [shelf.put(f"os-{number}", sample) for number, sample in enumerate(samples)]
            sources = [stack.enter_context(fetcher.resolve(reference, AMD64)) for reference in references]
            for source, sample in reversed(list(zip(sources, samples, strict=True))):
                assert is_same(read(source, source.image.layers[0].blob), sample.blobs[0])


def _private(remote: RegistryShelf) -> ImageReference:
    """An image in a registry that asks for a login."""
    remote.registry.basic = (_USER, _PASSWORD)
    return remote.put("os", make_sample("os", layers=1))


def _unreachable() -> ImageReference:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return ImageReference("registry", f"127.0.0.1:{free.getsockname()[1]}/fake/os:os")


def _fetch(fetcher: Fetcher, reference: ImageReference) -> None:
    with fetcher.resolve(reference, AMD64) as source:
        for layer in source.image.layers:
            read(source, layer.blob)


def _failure(fetcher: Fetcher, reference: ImageReference) -> FetchError:
    with pytest.raises(FetchError) as caught:
        _fetch(fetcher, reference)
    fetcher.close()
    return caught.value


def _silent(request: Received, reply: Reply) -> Reply:
    """A beginning, then nothing."""
    reply.send, reply.hold = len(reply.body) // 2, True
    return reply


def _children() -> set[str]:
    """The ids of this process's children."""
    found = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    return {child for children in found for child in children}
