"""Clauses S1 and S2: a fresh sysroot, and importing."""

from __future__ import annotations

import json

import pytest

from bootc.errors import BootcError, CancelledError, NetworkError
from bootc.image import Digest, Layer
from bootc.testing.fakes import Altered, Cut, FakeImage, FakeLayer, os_image
from bootc.testing.storage.base import StorageSuite
from bootc.testing.storage.system import System, versions
from bootc.testing.suite import clause

_IN_A_FILE = 1600
"""offset of a byte of the first file's content in a layer"""
_LARGE = b"".join(b"line %d of a large file\n" % number for number in range(20_000))


def large_image(version: str = "1") -> FakeImage:
    """An image with two more layers, each of half a MiB."""
    first = FakeLayer().file("usr/lib/first", _LARGE)
    return os_image(version, first, FakeLayer().file("usr/lib/second", _LARGE[::-1]))


def last_layer(image: FakeImage) -> Digest:
    """The diffID of the top layer."""
    return image.layers[-1].diff_id


class FreshSysroot(StorageSuite):
    """S1."""

    @clause("S1.1")
    def test_a_fresh_sysroot_has_no_deployments_and_no_damage(self, system: System) -> None:
        system.initialize()
        assert system.deployments() == ()
        assert system.findings() == []

    @clause("S1.2")
    def test_initializing_again_changes_nothing(self, system: System) -> None:
        system.install()
        before = system.deployments()
        system.initialize()
        system.initialize("other")
        assert system.deployments() == before
        assert system.findings() == []


class Importing(StorageSuite):
    """S2."""

    @clause("S2.1")
    def test_what_is_missing_is_what_an_import_reads(self, system: System) -> None:
        system.initialize()
        image = os_image()
        streams = image.streams()
        assert system.store.find(image.image) is None
        assert system.store.missing(image.image) == image.image.layers
        system.store.import_image(image.image, streams)
        assert sorted(map(str, streams.opened)) == sorted(str(layer.diff_id) for layer in image.layers)
        assert system.store.missing(image.image) == ()

    @clause("S2.2")
    def test_an_image_is_found_as_it_was_imported(self, system: System) -> None:
        system.initialize()
        image = os_image()
        imported = system.fetch(image)
        assert imported.digest == image.image.digest
        assert [json.loads(text) for text in (imported.manifest, imported.config)] == [
            json.loads(text) for text in (image.image.manifest, image.image.config)
        ]
        assert imported.layer_sizes == image.image.layer_sizes
        assert system.store.find(image.image) == imported
        assert system.reopen().store.find(image.image) == imported
        relabelled = os_image(labels={"another": "manifest"})
        assert system.store.find(relabelled.image) is None, "another manifest of the same layers is another image"

    @clause("S2.3")
    def test_the_same_image_again_reads_nothing(self, system: System) -> None:
        system.initialize()
        image, streams = os_image(), os_image().streams()
        first = system.fetch(image)
        assert system.store.import_image(image.image, streams) == first
        assert system.reopen().store.import_image(image.image, streams) == first
        assert streams.opened == []

    @clause("S2.4")
    def test_an_update_reads_only_layers_that_are_new(self, system: System) -> None:
        system.install("1")
        second = os_image("2")
        new = second.image.layers[1:]
        streams = second.streams()
        assert system.store.missing(second.image) == new
        system.publish(narrow=True)
        system.store.import_image(second.image, streams)
        assert streams.opened == [layer.diff_id for layer in new]

    @clause("S2.5")
    def test_an_interrupted_import_goes_on_where_it_was(self, system: System) -> None:
        system.initialize()
        image = large_image()
        with pytest.raises(NetworkError):
            system.store.import_image(image.image, image.streams({last_layer(image): Cut()}))
        assert system.store.find(image.image) is None
        streams = image.streams()
        store = system.reopen().store
        assert store.missing(image.image) == image.image.layers[-1:]
        store.import_image(image.image, streams)
        assert streams.opened == [last_layer(image)]
        assert system.findings() == []

    @clause("S2.6")
    @pytest.mark.parametrize("position", [1, 2, 3], ids=["first", "middle", "last"])
    def test_a_layer_that_proves_wrong_does_not_count(self, system: System, position: int) -> None:
        system.install("1")
        image = large_image("2")
        wrong = image.layers[position]
        before = system.deployments()
        system.publish(narrow=True)
        with pytest.raises(BootcError):
            system.store.import_image(image.image, image.streams({wrong.diff_id: Altered(_IN_A_FILE)}))
        assert system.store.find(image.image) is None
        assert versions(system.deployments()) == versions(before)
        system.store.import_image(image.image, image.streams())
        assert system.findings() == []

    @clause("S2.7")
    def test_cancelling_leaves_the_old_system_and_what_was_finished(self, system: System) -> None:
        system.install("1")
        before = system.deployments()
        image = large_image("2")
        streams = image.streams()

        def cancel(layer: Layer) -> None:
            if layer.diff_id == last_layer(image):
                system.machine.check_cancelled = _cancelled

        streams.during = cancel
        with pytest.raises(CancelledError):
            system.store.import_image(image.image, streams)
        system.machine.check_cancelled = lambda: None
        assert system.store.find(image.image) is None
        assert versions(system.deployments()) == versions(before)
        system.store.import_image(image.image, image.streams())
        assert system.findings() == []


def _cancelled() -> None:
    raise CancelledError("by the test")
