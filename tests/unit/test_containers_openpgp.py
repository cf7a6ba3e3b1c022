"""Keys of a policy, and what happens without gpgv; the rest is compared with skopeo in the integration tests."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

import pytest
from bootc_containers import openpgp
from bootc_containers.payload import Unacceptable

from bootc import machine
from bootc.errors import FileSystemError, PolicyError

KEY = b"\x98" + bytes(range(120))
BODY = base64.encodebytes(KEY).decode()
BLOCK = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n{}\n{}{}-----END PGP PUBLIC KEY BLOCK-----\n"


@pytest.mark.parametrize(
    "text",
    [
        BLOCK.format("", BODY, ""),
        BLOCK.format("", BODY, "=AbCd\n"),
        BLOCK.format("Version: 1\nComment: a: b\n", BODY, "=AbCd\n"),
        "a comment\n" + BLOCK.format("", BODY, "=AbCd\n"),
        BLOCK.format("", BODY, "=AbCd\n").replace("\n", "\r\n"),
    ],
    ids=["bare", "checksum", "headers", "comment", "other newlines"],
)
def test_armored_keys_are_read(text: str) -> None:
    assert openpgp.keyring([text.encode(), KEY], "f") == KEY + KEY
    assert openpgp.keyring([(text + text).encode()], "f") == KEY + KEY


@pytest.mark.parametrize(
    "data", [b"", b"hello", BLOCK.format("", "", "").encode(), BLOCK.format("", "aGk=\n", "").encode()]
)
def test_a_file_without_a_key_is_an_error(data: bytes) -> None:
    with pytest.raises(PolicyError, match="holds no OpenPGP key"):
        openpgp.keyring([KEY, data], "f")


def test_without_gpgv_nothing_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine._ENVIRONMENT, "PATH", str(tmp_path))
    with pytest.raises(PolicyError, match="cannot be verified on this machine") as caught:
        openpgp.verify(b"\xa3", KEY)
    assert caught.value.hint == "install gpgv"


def test_without_a_place_to_work_nothing_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/sys")
    with pytest.raises(FileSystemError, match="/proc/sys/bootc-gpgv-"):
        openpgp.verify(b"\xa3", KEY)


@pytest.mark.parametrize(
    "status",
    [
        "",
        "NEWSIG\nGOODSIG a b\nVALIDSIG F 1 2 0 4 0 22 8 00 P",
        "PLAINTEXT 62\nNEWSIG\nGOODSIG a b\nVALIDSIG F 1 2 0 4 0 22 2 00 P",
        "PLAINTEXT 62\nNEWSIG\nGOODSIG a b\nVALIDSIG F 1 2 0 4 0 22 8 00",
        "PLAINTEXT 62\nNEWSIG\nGOODSIG a b\nGOODSIG a b\nVALIDSIG F 1 2 0 4 0 22 8 00 P",
        "PLAINTEXT 62\nNEWSIG\nEXPKEYSIG a b\nVALIDSIG F 1 2 0 4 0 22 8 00 P",
        "PLAINTEXT 62\nNEWSIG\nGOODSIG a b\nREVKEYSIG a b\nVALIDSIG F 1 2 0 4 0 22 8 00 P",
    ],
    ids=["nothing", "no content", "SHA-1", "no primary key", "two signatures", "expired", "revoked"],
)
def test_anything_but_one_good_signature_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    program = tmp_path / "gpgv"
    lines = "\n".join(f"[GNUPG:] {line}" for line in status.splitlines())
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setitem(machine._ENVIRONMENT, "PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(Unacceptable):
        openpgp.verify(b"\xa3", KEY)
