"""Images in files: OCI layouts, archives of them, and skopeo's directories; made by hand and by skopeo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bootc.errors import BootcError, IntegrityError, NotFoundError, PolicyError, ProtocolError, UnsupportedError
from bootc.image import ImageReference
from bootc.testing.registry import digest_of
from tests.integration.registry_fetching import AMD64, ARM64, fetching, pull, read
from tests.integration.test_registry_real import make_layout

BASE, TOP = bytes(range(256)) * 3000, b"top" * 50_000


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return make_layout(tmp_path / "layout", os=("amd64", (BASE, TOP)))


def _index(layout: Path) -> dict[str, list[dict[str, object]]]:
    document: dict[str, list[dict[str, object]]] = json.loads((layout / "index.json").read_text())
    return document


def _write_index(layout: Path, *entries: object) -> None:
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


def _skopeo(source: str, target: str, *options: str) -> str:
    subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", *options, source, target], check=True)
    return target


def _archive(layout: Path, path: Path, format: int = tarfile.PAX_FORMAT) -> str:
    with tarfile.open(path, "w", format=format) as archive:
        archive.add(layout, arcname=".")
    return f"oci-archive:{path}"


def _linked(layout: Path, path: Path) -> Path:
    path.symlink_to(layout)
    return path


WAYS: dict[str, Callable[[Path, Path], str]] = {
    "oci": lambda layout, to: f"oci:{layout}",
    "oci by name": lambda layout, to: f"oci:{layout}:os",
    "oci by number": lambda layout, to: f"oci:{layout}:@0",
    "oci through a link": lambda layout, to: f"oci:{_linked(layout, to)}",
    "tar, pax": lambda layout, to: _archive(layout, to),
    "tar, gnu": lambda layout, to: _archive(layout, to, tarfile.GNU_FORMAT),
    "tar, ustar": lambda layout, to: _archive(layout, to, tarfile.USTAR_FORMAT),
    "tar by name": lambda layout, to: f"{_archive(layout, to)}:os",
    "skopeo's archive": lambda layout, to: _skopeo(f"oci:{layout}:os", f"oci-archive:{to}:os"),
    "skopeo's directory": lambda layout, to: _skopeo(f"oci:{layout}:os", f"dir:{to}"),
    "skopeo's docker directory": lambda layout, to: _skopeo(f"oci:{layout}:os", f"dir:{to}", "--format", "v2s2"),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_image_in_files_is_read(layout: Path, tmp_path: Path, way: str) -> None:
    reference = ImageReference.parse(WAYS[way](layout, tmp_path / "target"))
    with fetching(tmp_path) as fetcher, fetcher.resolve(reference, AMD64) as source:
        image = source.image
        assert source.is_local
        assert [str(layer.diff_id) for layer in image.layers] == [digest_of(BASE), digest_of(TOP)]
        assert digest_of(image.manifest) == str(image.digest) == str(image.top_digest) == str(fetcher.peek(reference))
        for layer in image.layers:
            assert digest_of(read(source, layer.blob)) == str(layer.blob.digest)
    if not way.startswith("skopeo"):
        assert str(image.digest) == _index(layout)["manifests"][0]["digest"]


@pytest.mark.parametrize("way", ["oci", "tar, pax"])
def test_blobs_are_read_from_any_offset_side_by_side(layout: Path, tmp_path: Path, way: str) -> None:
    reference = ImageReference.parse(WAYS[way](layout, tmp_path / "target"))
    with (
        fetching(tmp_path) as fetcher,
        fetcher.resolve(reference, AMD64) as source,
        ThreadPoolExecutor(4) as pool,
    ):
        blob = source.image.layers[0].blob
        starts = [0, 1, 4096, len(BASE) - 1, len(BASE)] * 4
        assert list(pool.map(lambda start: read(source, blob, start), starts)) == [BASE[start:] for start in starts]
        with source.open_blob(blob, 5) as stream:
            assert stream.read() == BASE[5:]


def test_no_file_stays_open(layout: Path, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with fetching(tmp_path) as fetcher:
        for way in ("oci", "tar, pax"):
            pull(fetcher, WAYS[way](layout, tmp_path / "target"))
            with pytest.raises(NotFoundError):
                pull(fetcher, f"oci:{layout}:other")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_name_can_stand_for_several_platforms(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout", amd=("amd64", (BASE,)), arm=("arm64", (TOP,)))
    entries = _index(layout)["manifests"]
    for entry, architecture in zip(entries, ("amd64", "arm64"), strict=True):
        entry["platform"] = {"os": "linux", "architecture": architecture}
        entry["annotations"] = {"org.opencontainers.image.ref.name": "os"}
    _write_index(layout, *entries)
    with fetching(tmp_path) as fetcher:
        assert [pull(fetcher, f"oci:{layout}:os", p).layers for p in (AMD64, ARM64)] == [(BASE,), (TOP,)]
        assert fetcher.peek(ImageReference.parse(f"oci:{layout}:os")) is None
        assert pull(fetcher, f"oci:{layout}:@1", ARM64).layers == (TOP,)


def test_an_index_in_the_layout_is_followed(layout: Path, tmp_path: Path) -> None:
    (entry,) = _index(layout)["manifests"]
    platform = {"os": "linux", "architecture": "amd64"}
    inner = json.dumps({"schemaVersion": 2, "manifests": [{**entry, "platform": platform}]}).encode()
    (layout / "blobs/sha256" / digest_of(inner)[7:]).write_bytes(inner)
    media_type = "application/vnd.oci.image.index.v1+json"
    _write_index(layout, {"mediaType": media_type, "digest": digest_of(inner), "size": len(inner)})
    with fetching(tmp_path) as fetcher:
        pulled = pull(fetcher, f"oci:{layout}")
        assert str(fetcher.peek(ImageReference.parse(f"oci:{layout}"))) == digest_of(inner)
    assert (pulled.layers, str(pulled.image.top_digest)) == ((BASE, TOP), digest_of(inner))
    assert str(pulled.image.digest) == entry["digest"]


def test_the_policy_is_asked_first(layout: Path, tmp_path: Path) -> None:
    policy = {
        "default": [{"type": "insecureAcceptAnything"}],
        "transports": {"oci": {str(layout): [{"type": "reject"}]}},
    }
    (tmp_path / "etc/containers").mkdir(parents=True)
    (tmp_path / "etc/containers/policy.json").write_text(json.dumps(policy))
    with fetching(tmp_path) as fetcher:
        with pytest.raises(PolicyError):
            pull(fetcher, f"oci:{layout}")
        assert pull(fetcher, WAYS["tar, pax"](layout, tmp_path / "target")).layers == (BASE, TOP)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", ["other", "@1", "@x", "@-1"])
def test_a_name_that_is_not_there_is_told(layout: Path, tmp_path: Path, name: str) -> None:
    with fetching(tmp_path) as fetcher, pytest.raises(NotFoundError):
        pull(fetcher, f"oci:{layout}:{name}")


def test_several_images_need_a_name(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout", a=("amd64", (BASE,)), b=("amd64", (TOP,)))
    with fetching(tmp_path) as fetcher, pytest.raises(NotFoundError, match="2 images, not one") as caught:
        pull(fetcher, f"oci:{layout}")
    assert caught.value.hint == "names in it: a, b"


def _blob(layout: Path) -> Path:
    return layout / "blobs/sha256" / digest_of(BASE)[7:]


def _to_link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def _to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, tuple[Callable[[Path], object], type[BootcError]]] = {
    "no marker": (lambda layout: (layout / "oci-layout").unlink(), NotFoundError),
    "another version": (
        lambda layout: (layout / "oci-layout").write_text('{"imageLayoutVersion":"2"}'),
        UnsupportedError,
    ),
    "no index": (lambda layout: (layout / "index.json").unlink(), NotFoundError),
    "huge index": (lambda layout: (layout / "index.json").write_text(" " * (5 << 20)), ProtocolError),
    "index is a link": (lambda layout: _to_link(layout / "index.json"), ProtocolError),
    "blobs is a link": (lambda layout: _to_link(layout / "blobs"), ProtocolError),
    "blob is a link": (lambda layout: _to_link(_blob(layout)), ProtocolError),
    "blob is a pipe": (lambda layout: _to_fifo(_blob(layout)), ProtocolError),
    "blob is missing": (lambda layout: _blob(layout).unlink(), NotFoundError),
    "blob is longer": (lambda layout: _blob(layout).write_bytes(BASE + b"x"), IntegrityError),
    "blob is shorter": (lambda layout: _blob(layout).write_bytes(BASE[1:]), IntegrityError),
    "manifest is another": (
        lambda layout: _write_index(layout, {**_index(layout)["manifests"][0], "digest": digest_of(BASE)}),
        IntegrityError,
    ),
    "digest is a path": (
        lambda layout: _write_index(layout, {**_index(layout)["manifests"][0], "digest": "sha256:../../../etc/passwd"}),
        ProtocolError,
    ),
    "nothing": (lambda layout: shutil.rmtree(layout), NotFoundError),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_layout_is_refused(layout: Path, tmp_path: Path, damage: str) -> None:
    spoil, error = DAMAGES[damage]
    spoil(layout)
    with fetching(tmp_path) as fetcher, pytest.raises(error):
        pull(fetcher, f"oci:{layout}")


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "dir"])
@pytest.mark.parametrize("kind", ["directory", "file", "pipe", "nothing"])
def test_what_is_no_image_is_refused(tmp_path: Path, transport: str, kind: str) -> None:
    path = tmp_path / "thing"
    match kind:
        case "directory":
            path.mkdir()
        case "file":
            path.write_bytes(b"hello" * 1000)
        case "pipe":
            os.mkfifo(path)
        case _:
            assert not path.exists()
    with fetching(tmp_path) as fetcher, pytest.raises((NotFoundError, ProtocolError)):
        pull(fetcher, f"{transport}:{path}")


def test_a_compressed_archive_is_told_apart(layout: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(layout, arcname=".")
    with fetching(tmp_path) as fetcher, pytest.raises(UnsupportedError, match="compressed"):
        pull(fetcher, f"oci-archive:{tmp_path}/a.tar.gz")


def test_an_archive_that_is_cut_is_refused_at_every_length(layout: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    _archive(layout, path)
    whole = path.read_bytes()
    with fetching(tmp_path) as fetcher:
        for size in range(0, len(whole) - 10_240, 4096 + 512):
            path.write_bytes(whole[:size])
            with pytest.raises(ProtocolError):
                pull(fetcher, f"oci-archive:{path}")


def test_an_archive_that_shrinks_while_it_is_read_is_told(layout: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    reference = ImageReference.parse(_archive(layout, path))
    with fetching(tmp_path) as fetcher, fetcher.resolve(reference, AMD64) as source:
        os.truncate(path, 0)
        with pytest.raises(IntegrityError, match="cut short"):
            read(source, source.image.layers[0].blob)
