"""Clauses S3: the tree of an image, in normal form 1 (`bootc.testing.trees`)."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

import pytest

from bootc.errors import BootcError
from bootc.testing.attributes import ACCESS_LIST, CAPABILITY
from bootc.testing.fakes import FakeImage, FakeLayer, os_image
from bootc.testing.storage.base import StorageSuite
from bootc.testing.storage.system import System
from bootc.testing.suite import clause
from bootc.testing.trees import NormalTree, difference, read

NAMES = ("ä ö ü", "日本語", "tab\tnewline\nquote\"'", "-rf", "back\\slash", "a" * 255, " ", "wh.plain", "%41", "*?[x]")
MANY = 10_000


def imported_tree(system: System, image: FakeImage) -> NormalTree:
    """The tree that a store gives of an image."""
    system.initialize()
    imported = system.fetch(image)
    with system.store.open_tree(imported) as tree, tree.directory() as directory:
        return read(directory)


def require_same(system: System, *layers: FakeLayer) -> None:
    """The imported tree of these layers is what they say, but for times."""
    image = os_image("1", *layers)
    found = imported_tree(system, image)
    assert difference(image.tree.without_times(), found.without_times()) == {}


class Contents(StorageSuite):
    """S3."""

    @clause("S3.1")
    def test_names_kinds_modes_owners_and_contents(self, system: System) -> None:
        layer = FakeLayer().directory("usr/d", mode=0o3770, uid=9, gid=10).directory("usr/d/e", mode=0o700)
        for name, mode in (("setuid", 0o4755), ("setgid", 0o2755), ("sticky", 0o1644), ("none", 0), ("all", 0o7777)):
            layer.file(f"usr/d/{name}", name.encode(), mode=mode, uid=7, gid=8)
        layer.file("usr/d/far", b"f", uid=4_000_000_000, gid=3_000_000_000).file("usr/d/empty")
        layer.file("usr/d/large", bytes(range(256)) * 9000).file("etc/shadow", b"root:*\n", mode=0o640, gid=42)
        layer.symlink("usr/d/up", "../lib", uid=12, gid=13).symlink("usr/d/dangling", "x" * 200)
        layer.symlink("usr/d/absolute", "/usr/lib/version")
        require_same(system, layer)

    @clause("S3.2")
    def test_extended_attributes(self, system: System) -> None:
        layer = FakeLayer().file("usr/lib/many", b"m", xattrs={"user.b": b"\xff\x00\x01", "user.a": b"1"})
        layer.file("usr/lib/none", b"n", xattrs={"user.empty": b""})
        layer.directory("usr/lib/d", xattrs={"user.directory": b"d", "trusted.kept": b"by root"})
        layer.file("usr/lib/listed", b"l", mode=0o640, xattrs={"system.posix_acl_access": ACCESS_LIST})
        require_same(system, layer)

    @clause("S3.3")
    def test_file_capabilities(self, system: System) -> None:
        layer = FakeLayer().file("usr/bin/capable", b"c", mode=0o755, uid=3, xattrs={"security.capability": CAPABILITY})
        require_same(system, layer)

    @clause("S3.4")
    def test_hard_links(self, system: System) -> None:
        lower = FakeLayer().file("usr/lib/one", b"one file of several names", mode=0o4711, xattrs={"user.a": b"1"})
        lower.hardlink("usr/bin/one", "usr/lib/one").hardlink("opt/one", "usr/bin/one")
        lower.file("usr/lib/pair", b"a pair, of which one name goes").hardlink("usr/lib/goes", "usr/lib/pair")
        upper = FakeLayer().whiteout("usr/lib/goes").file("usr/bin/one", b"a file of its own now")
        require_same(system, lower, upper)

    @clause("S3.5")
    def test_whiteouts(self, system: System) -> None:
        lower = FakeLayer().file("usr/lib/goes", b"x").directory("usr/lib/d").file("usr/lib/d/inside", b"x")
        lower.directory("usr/lib/again").file("usr/lib/again/old", b"x").symlink("usr/lib/link", "d")
        upper = FakeLayer().whiteout("usr/lib/goes").whiteout("usr/lib/d").whiteout("usr/lib/link")
        upper.whiteout("usr/lib/again")
        last = FakeLayer().directory("usr/lib/again").file("usr/lib/again/new", b"n").file("usr/lib/goes", b"back")
        require_same(system, lower, upper, last)

    @clause("S3.6")
    def test_opaque_directories(self, system: System) -> None:
        lower = FakeLayer().directory("usr/share/doc").file("usr/share/doc/old", b"o").directory("usr/share/doc/sub")
        lower.file("usr/share/doc/sub/old", b"o").file("usr/share/beside", b"stays")
        upper = FakeLayer().directory("usr/share/doc", mode=0o700).opaque("usr/share/doc")
        require_same(system, lower, upper.file("usr/share/doc/new", b"n"))

    @clause("S3.7")
    def test_upper_layers_change_kinds_and_metadata(self, system: System) -> None:
        lower = FakeLayer().directory("usr/lib/d", xattrs={"user.old": b"1"}).file("usr/lib/d/kept", b"kept")
        lower.file("usr/lib/file", b"f").symlink("usr/lib/link", "d").directory("usr/lib/full")
        lower.file("usr/lib/full/inside", b"i").file("usr/lib/same", b"same", mode=0o600)
        upper = FakeLayer().directory("usr/lib/d", mode=0o2751, uid=4, gid=5, xattrs={"user.new": b"2"})
        upper.directory("usr/lib/file").file("usr/lib/file/inside", b"a directory over a file")
        upper.directory("usr/lib/link", mode=0o711).file("usr/lib/link/inside", b"a directory over a link")
        upper.file("usr/lib/full", b"a file over a directory").file("usr/lib/same", b"same", mode=0o644)
        require_same(system, lower, upper)

    @clause("S3.8")
    def test_sparse_files(self, system: System) -> None:
        pieces = ((0, b"start"), (3 << 20, b"island" * 99), ((8 << 20) - 4, b"last"))
        require_same(system, FakeLayer().sparse("usr/lib/sparse", 8 << 20, *pieces).sparse("usr/lib/hole", 1 << 20))

    @clause("S3.9")
    def test_names_of_any_characters(self, system: System) -> None:
        layer = FakeLayer()
        for name in NAMES:
            layer.directory(f"usr/share/{name}").file(f"usr/share/{name}/{name}", name.encode())
        require_same(system, layer)

    @clause("S3.10")
    def test_names_that_are_not_utf_8(self, system: System) -> None:
        require_same(system, FakeLayer().file(b"usr/share/\xff\xfe", b"x").symlink("usr/share/to", b"\xff\xfe"))

    @clause("S3.11")
    def test_devices_and_pipes(self, system: System) -> None:
        layer = FakeLayer().device("usr/lib/null", "c", 1, 3, mode=0o666).device("usr/lib/disk", "b", 8, 1, gid=6)
        require_same(system, layer.fifo("usr/lib/pipe", mode=0o600))

    @clause("S3.12")
    def test_times_of_modification(self, system: System) -> None:
        layer = FakeLayer().directory("usr/old", mtime=1_000_000_000).file("usr/old/file", b"o", mtime=999_999_999)
        layer.symlink("usr/old/link", "file", mtime=1).file("usr/old/new", b"n", mtime=4_000_000_000)
        image = os_image("1", layer)
        found = imported_tree(system, image)
        wanted = [path for path in image.tree.nodes if path.startswith(b"usr/old")]
        assert {path: found.nodes[path] for path in wanted} == {path: image.tree.nodes[path] for path in wanted}

    @clause("S3.13")
    def test_many_files(self, system: System) -> None:
        layer = FakeLayer().directories("usr/share/many", *(f"usr/share/many/{number}" for number in range(100)))
        for number in range(MANY):
            layer.file(f"usr/share/many/{number % 100}/{number}", b"%d" % number)
        require_same(system, layer)

    @clause("S3.17")
    def test_layers_that_were_kept_make_the_same_tree(self, system: System) -> None:
        lower = FakeLayer().directory("usr/d", mode=0o2770, uid=9, gid=10, xattrs={"user.a": b"\xff", "user.b": b""})
        lower.file("usr/d/file", b"f" * 5000, mode=0o4711, uid=7, xattrs={"security.capability": CAPABILITY})
        lower.hardlink("usr/d/other", "usr/d/file").symlink("usr/d/link", "file", uid=5).file("usr/d/empty")
        lower.sparse("usr/d/sparse", 1 << 20, (99_000, b"island")).file("usr/d/goes", b"g").directory("usr/d/e")
        middle = FakeLayer().whiteout("usr/d/goes").file("usr/d/e", b"a file over a directory")
        system.install("1", lower, middle)
        image = os_image("1", lower, middle, FakeLayer().file("usr/d/last", b"l"))
        streams = image.streams()
        system.publish(narrow=True)
        imported = system.store.import_image(image.image, streams)
        assert streams.opened == [image.layers[-1].diff_id]
        with system.store.open_tree(imported) as tree, tree.directory() as directory:
            assert difference(image.tree.without_times(), read(directory).without_times()) == {}

    @clause("S3.14")
    def test_files_are_opened_by_the_image_s_paths(self, system: System) -> None:
        layer = (
            FakeLayer().symlink("usr/absolute", "/usr/lib/version").symlink("usr/relative", "../../../usr/lib/version")
        )
        layer.symlink("usr/outside", "/proc/version").symlink("usr/loop", "loop").symlink("usr/dir", "/usr/../usr/lib")
        large = b"".join(b"%07d\n" % number for number in range(50_000))
        layer.file("usr/large", large)
        system.initialize()
        imported = system.fetch(os_image("1", layer))
        with system.store.open_tree(imported) as tree:
            for path in ("usr/lib/version", "lib/version", "usr/absolute", "usr/relative", "usr/dir/version"):
                assert tree.read_optional(PurePosixPath(path)) == b"1", path
            for path in ("usr/outside", "usr/loop", "usr/lib", "absent", "usr/lib/version/x", "absent/x"):
                assert tree.read_optional(PurePosixPath(path)) is None, path
            assert tree.names(PurePosixPath("usr/lib/modules")) == tree.names(PurePosixPath("lib/modules"))
            assert tree.names(PurePosixPath("etc")) == ("kept", "only-1", "passwd", "version")
            assert tree.names(PurePosixPath("absent")) == tree.names(PurePosixPath("usr/lib/version")) == ()
            with tree.open(PurePosixPath("usr/large")) as file:
                assert file.read(8) == large[:8]
                if file.seekable():
                    assert file.seek(0, io.SEEK_END) == len(large)
                    for start in (200_000, 8, 300_000):
                        assert file.seek(start) == start
                        assert file.read(80) == large[start : start + 80], start
                assert large.endswith(file.read())
                assert file.read() == b""

    @clause("S3.15")
    def test_layers_cannot_lead_out_of_the_tree(self, system: System) -> None:
        outside = Path("/mnt/outside")
        outside.mkdir()
        (outside / "file").write_text("untouched")
        lower = FakeLayer().symlink("usr/out", str(outside)).symlink("usr/up", "../../../../../../mnt/outside")
        upper = FakeLayer().file("usr/out/new", b"n").whiteout("usr/up/file").file("usr/up/other", b"o")
        system.initialize()
        before = read(outside)
        system.fetch(os_image("1", lower, upper))
        for name in ("../../../../mnt/outside/new", "usr/../../../mnt/outside/new", "/mnt/outside/new"):
            layer = FakeLayer().file(name, b"n")
            try:
                system.fetch(os_image("2", layer))
            except BootcError:
                assert system.store.find(os_image("2", layer).image) is None
        assert read(outside) == before

    @clause("S3.16")
    def test_a_layer_that_is_no_archive_is_refused(self, system: System) -> None:
        system.install("1")
        before = system.deployments()
        layer = FakeLayer().hardlink("usr/lib/to", "usr/lib/nothing-there")
        with pytest.raises(BootcError) as failure:
            system.fetch(os_image("2", layer))
        assert "nothing-there" in failure.value.message
        assert [d.id for d in system.deployments()] == [d.id for d in before]
        assert system.findings() == []
