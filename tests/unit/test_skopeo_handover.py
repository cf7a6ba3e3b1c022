"""What skopeo is told of /etc/containers, and where it would read something else."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from bootc_containers.places import Places
from bootc_skopeo.connection import Connection
from bootc_skopeo.handover import NO_CREDENTIALS, Handover
from bootc_skopeo.pool import Pool

from bootc.errors import FileSystemError, PolicyError, ReferenceError, UnsupportedError
from bootc.image import ImageReference

OS = ImageReference.parse("docker://h.example/os:1")
MIRRORED = """
credential-helpers = ["containers-auth.json", "vault"]
[[registry]]
prefix = "h.example"
location = "l.example/x"
[[registry.mirror]]
location = "m.example"
insecure = true
[[registry.mirror]]
location = "never.example"
pull-from-mirror = "digest-only"
"""


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def handover(root: Path, *insecure: str) -> Handover:
    return Handover.of(OS, Places(root, {}, 0), insecure)


def test_only_what_concerns_the_image_is_told(tmp_path: Path) -> None:
    write(tmp_path, "usr/share/containers/registries.conf", MIRRORED)
    found = handover(tmp_path, "l.example")
    assert tomllib.loads(found.registries) == {
        "credential-helpers": ["containers-auth.json", "vault"],
        "registry": [
            {
                "prefix": "h.example/os",
                "location": "l.example/x/os",
                "insecure": True,
                "mirror": [{"location": "m.example/os", "insecure": True}],
            }
        ],
    }
    flag, path = found.write(tmp_path)
    assert (flag, Path(path).read_text()) == ("--registries-conf", found.registries)
    assert Path(found.write(tmp_path / "gone")[1]).parent == tmp_path / "gone"


def test_where_signatures_are_is_told_only_if_some_are_needed(tmp_path: Path) -> None:
    text = "docker:\n  h.example:\n    lookaside: https://s.example\n    use-sigstore-attachments: true\n    other: 1\n"
    write(tmp_path, "usr/share/containers/registries.d/a.yaml", text)
    *_, folder = Handover.of(OS, Places(tmp_path, {}, 0), (), needs_signatures=True).write(tmp_path)
    sections = {"h.example": {"lookaside": "https://s.example", "use-sigstore-attachments": True}}
    assert json.loads(Path(folder, "all.yaml").read_text()) == {"default-docker": {}, "docker": sections}
    assert "--registries.d" not in handover(tmp_path).write(tmp_path)


def test_without_a_place_for_files_skopeo_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "file", "")
    with pytest.raises(FileSystemError, match=f"{tmp_path}/file"):
        handover(tmp_path).write(tmp_path / "file")
    monkeypatch.setenv("TMPDIR", f"{tmp_path}/file")
    with pytest.raises(FileSystemError, match=f"{tmp_path}/file/bootc-skopeo-"):
        Pool(nowhere)


def nowhere(temporary: Path) -> Connection:
    raise AssertionError(f"a connection in {temporary}")


def test_helpers_need_credentials_to_be_allowed_but_nobody_s_files(tmp_path: Path) -> None:
    assert handover(tmp_path).flags(NO_CREDENTIALS, tmp_path) == NO_CREDENTIALS
    write(tmp_path, "etc/containers/registries.conf", MIRRORED)
    flags = handover(tmp_path).flags(NO_CREDENTIALS, tmp_path)
    handover(tmp_path).write(tmp_path)
    assert (flags[0], Path(flags[1]).read_text()) == ("--authfile", "{}")
    assert handover(tmp_path).flags(("--authfile", "/a"), tmp_path) == ("--authfile", "/a")


def test_a_drop_in_that_says_the_same_is_no_problem(tmp_path: Path) -> None:
    table = '[[registry]]\nlocation = "h.example/os"\n[[registry.mirror]]\nlocation = "m.example/os"\n'
    write(tmp_path, "etc/containers/registries.conf.d/a.conf", table)
    assert "m.example" in handover(tmp_path).registries


def test_a_drop_in_that_skopeo_would_follow_against_the_configuration_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "etc/containers/registries.conf.d/a.conf", '[[registry]]\nlocation = "h.example/os"\n')
    mirrored = '[[registry]]\nlocation = "h.example/os"\n[[registry.mirror]]\nlocation = "m.example/os"\n'
    write(tmp_path, "etc/containers/registries.rootful.conf.d/a.conf", mirrored)
    with pytest.raises(UnsupportedError, match=r"registries\.conf\.d/a\.conf"):
        handover(tmp_path)


@pytest.mark.parametrize("home", ["root", "home/anna"])
def test_so_is_a_drop_in_of_a_person(tmp_path: Path, home: str) -> None:
    write(tmp_path, f"{home}/.config/containers/registries.conf.d/a.conf", '[[registry]]\nlocation = "h.example/os"\n')
    write(
        tmp_path, "etc/containers/registries.conf", MIRRORED.replace('.example"', '.example/os"').replace("/x", "/os")
    )
    with pytest.raises(UnsupportedError, match=f"{home}/.config"):
        Handover.of(OS, Places(tmp_path, {"HOME": str(tmp_path / "home/anna")}, 0), ())


def test_what_is_blocked_or_ambiguous_is_refused_before_skopeo_starts(tmp_path: Path) -> None:
    write(tmp_path, "etc/containers/registries.conf", '[[registry]]\nlocation = "h.example"\nblocked = true\n')
    with pytest.raises(PolicyError, match="blocked"):
        handover(tmp_path)
    write(tmp_path, "etc/containers/registries.conf", '[aliases]\n"os" = "h.example/os"\n')
    with pytest.raises(ReferenceError, match="ambiguous"):
        Handover.of(ImageReference.parse("docker://os"), Places(tmp_path, {}, 0), ())


def test_certificates_where_older_versions_do_not_look(tmp_path: Path) -> None:
    assert handover(tmp_path).certificates is None
    new = tmp_path / "usr/share/containers/certs.d/h.example"
    new.mkdir(parents=True)
    assert handover(tmp_path).flags(NO_CREDENTIALS, tmp_path) == (*NO_CREDENTIALS, "--cert-dir", str(new))
    write(tmp_path, "etc/containers/registries.conf", MIRRORED.replace("l.example/x", "h.example"))
    with pytest.raises(UnsupportedError, match="certificates"):
        handover(tmp_path)
    (tmp_path / "etc/containers/certs.d/h.example").mkdir(parents=True)
    assert handover(tmp_path).certificates is None
