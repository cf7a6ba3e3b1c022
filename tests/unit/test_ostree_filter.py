"""What of a layer goes into its commit."""

from __future__ import annotations

import io

import pytest
from bootc_ostree.filter import LayerFilter

from bootc.errors import LayerError
from bootc.layers import Entry, EntryKind, read_layer
from tests.ostree_images import Tar


def entry(path: str, kind: EntryKind = EntryKind.FILE, **fields: object) -> Entry:
    values: dict[str, object] = {"mode": 0o644, "uid": 0, "gid": 0, "mtime": 1, **fields}
    return Entry(path.encode(), kind, **values)  # type: ignore[arg-type]


def filtered(tar: Tar, rules: LayerFilter) -> dict[str, tuple[EntryKind, int, bytes, bytes]]:
    """Path to kind, mode, target and content of everything that is kept."""
    found = {}
    for source, content in read_layer(io.BytesIO(tar.data)):
        for kept, body in rules.rewrite(source, content):
            data = body.read(kept.size) if kept.kind is EntryKind.FILE else b""
            found[kept.path.decode()] = (kept.kind, kept.mode, kept.target, data)
    return found


FILE, DIRECTORY, HARDLINK = EntryKind.FILE, EntryKind.DIRECTORY, EntryKind.HARDLINK


def test_etc_moves_and_runtime_directories_stay_empty() -> None:
    tar = Tar()
    for top in ("run", "tmp", "proc", "sys", "dev"):
        tar.directory(top, mode=0o700).add(f"{top}/below", data=b"gone")
    tar.directory("etc", mode=0o711).add("etc/passwd", data=b"root").directory("usr", mode=0o755)
    rules = LayerFilter()
    assert filtered(tar, rules) == {
        **dict.fromkeys(("run", "tmp", "proc", "sys", "dev"), (DIRECTORY, 0o700, b"", b"")),
        "usr": (DIRECTORY, 0o755, b"", b""),
        "usr/etc": (DIRECTORY, 0o711, b"", b""),
        "usr/etc/passwd": (FILE, 0o644, b"", b"root"),
    }
    assert rules.implied == {b""}


def test_what_a_layer_only_implies_is_remembered() -> None:
    rules = LayerFilter()
    filtered(Tar().add("etc/a/b").directory("opt").add("opt/x/y").directory("opt/x", mode=0o700), rules)
    assert rules.implied == {b"", b"usr", b"usr/etc", b"usr/etc/a"}


def test_whiteouts_follow_what_they_hide() -> None:
    tar = Tar().whiteout("etc").whiteout("run/x").add("usr/.wh.a").opaque("var")
    assert set(filtered(tar, LayerFilter())) == {
        "usr",
        "usr/.wh.etc",
        "usr/.wh.a",
        "run",
        "var",
        "var/.wh..wh..opq",
    }


def test_hard_links_move_with_their_targets() -> None:
    tar = Tar().add("etc/a", data=b"1").hardlink("usr/b", "/etc/a").hardlink("etc/c", "./etc/a")
    found = filtered(tar, LayerFilter())
    assert {path: value[2] for path, value in found.items() if value[0] is HARDLINK} == {
        "usr/b": b"usr/etc/a",
        "usr/etc/c": b"usr/etc/a",
    }


def test_a_hard_link_leads_to_where_its_target_lies_in_the_commit() -> None:
    tar = Tar().add("etc/a", data=b"1").hardlink("usr/b", "etc/a").hardlink("usr/c", "usr/b").hardlink("opt/d", "usr/c")
    found = filtered(tar, LayerFilter())
    links = {path: value[2] for path, value in found.items() if value[0] is HARDLINK}
    assert links == {"usr/b": b"usr/etc/a", "usr/c": b"usr/b", "opt/d": b"usr/c"}


def test_a_hard_link_to_what_is_dropped_is_refused() -> None:
    with pytest.raises(LayerError, match="usr/b: hard link to run/a, which is not stored"):
        filtered(Tar().add("run/a", data=b"1").hardlink("usr/b", "run/a"), LayerFilter())


def test_only_three_directories_can_be_had_where_the_root_is_read_only() -> None:
    tar = Tar().directory("opt").add("opt/a").add("opt/b").add("etc/c").add("var/d").directory("run").add("srv/e")
    rules = LayerFilter(keeps_toplevel=False)
    assert set(filtered(tar, rules)) == {"usr", "usr/etc", "usr/etc/c", "var", "var/d", "run"}
    assert rules.dropped == {"opt": 3, "srv": 2}


@pytest.mark.parametrize("kind", [EntryKind.CHARACTER, EntryKind.BLOCK, EntryKind.FIFO])
def test_what_ostree_cannot_store_is_refused_by_name(kind: EntryKind) -> None:
    with pytest.raises(LayerError, match="usr/dev/null: ostree cannot store device nodes and fifos"):
        list(LayerFilter().rewrite(entry("usr/dev/null", kind), io.BytesIO()))
    assert list(LayerFilter().rewrite(entry("dev/null", kind), io.BytesIO())) == []


@pytest.mark.parametrize("fields", [{"path": b"usr/\xff"}, {"kind": EntryKind.SYMLINK, "target": b"\xff"}])
def test_names_must_be_utf8(fields: dict[str, object]) -> None:
    values: dict[str, object] = {"path": b"usr/a", "kind": FILE, "mode": 0, "uid": 0, "gid": 0, "mtime": 0, **fields}
    with pytest.raises(LayerError, match="UTF-8"):
        list(LayerFilter().rewrite(Entry(**values), io.BytesIO()))  # type: ignore[arg-type]


def test_a_file_that_a_build_changed_through_the_repository_takes_its_real_name() -> None:
    source = "sysroot/ostree/repo/objects/ab/cd.file"
    tar = Tar().add(source, data=b"changed", mode=0o755)
    tar.hardlink("etc/one", source).hardlink("usr/two", source)
    found = filtered(tar, LayerFilter())
    assert found["usr/etc/one"] == (FILE, 0o755, b"", b"changed")
    assert found["usr/two"][::2] == (HARDLINK, b"usr/etc/one")
    assert not any("objects/ab/" in path for path in found)


def test_an_unchanged_object_is_no_special_case() -> None:
    tar = Tar().add("sysroot/ostree/repo/objects/ab/cd.file", data=b"same", mtime=0)
    assert "sysroot/ostree/repo/objects/ab/cd.file" in filtered(tar, LayerFilter())


def test_labels_come_from_the_policy_only() -> None:
    asked = []

    def label(path: str, mode: int) -> str | None:
        asked.append((path, oct(mode)))
        return f"policy:{path}" if path.startswith("/etc") else None

    rules = LayerFilter(label=label)
    given = {b"security.selinux": b"image\0", b"user.x": b"1"}
    kept = [
        dict(found.xattrs)
        for path in ("etc/a", "usr/b")
        for found, _ in rules.rewrite(entry(path, xattrs=given), io.BytesIO())
    ]
    assert asked == [("/usr", "0o40755"), ("/etc", "0o40755"), ("/etc/a", "0o100644"), ("/usr/b", "0o100644")]
    assert kept == [
        {},
        {b"security.selinux": b"policy:/etc\0"},
        {b"user.x": b"1", b"security.selinux": b"policy:/etc/a\0"},
        {b"user.x": b"1"},
    ]
