"""OpenPGP signed messages, verified by gpgv(1) against the keys of a policy and no others."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bootc.durable import explain
from bootc.errors import MissingProgramError, PolicyError, ProgramError
from bootc.machine import Command, find_program
from bootc_containers.payload import Unacceptable
from bootc_containers.signatures import SIGNATURE_LIMIT

_ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n]+: [^\r\n]*\r?\n)*[ \t]*\r?\n([A-Za-z0-9+/=\r\n]+?)"
    rb"(?:\r?\n=[A-Za-z0-9+/]{4})?\r?\n-----END PGP PUBLIC KEY BLOCK-----"
)
_WEAK_HASHES = frozenset({"1", "2", "3"})
"""MD5, SHA-1 and RIPEMD-160 (RFC 4880, 9.4); a key of the policy may be certified with them: it came with the policy"""
_BAD = frozenset({"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"})
_VALID_FIELDS = 10


def keyring(keys: Sequence[bytes], source: str) -> bytes:
    """Key files, binary or armored, as one keyring. Raises PolicyError if there is no key in one of them."""
    return b"".join(_binary(data, source) for data in keys)


def verify(message: bytes, ring: bytes) -> tuple[str, bytes]:
    """Fingerprint of the primary key that signed, and what was signed.

    Raises Unacceptable for anything but one good signature over one document by a key of the ring that is neither
    expired nor revoked, PolicyError if gpgv is not there, NoSpaceError or FileSystemError if there is no place to work.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="bootc-gpgv-") as name:
            folder = Path(name)
            (folder / "ring").write_bytes(ring)
            (folder / "message").write_bytes(message)
            return _verified(folder)
    except OSError as error:
        raise explain(error, str(error.filename or "a temporary directory")) from error


def _verified(folder: Path) -> tuple[str, bytes]:
    fingerprint = _require_good(_run(folder))
    content = folder / "content"
    if not content.is_file():
        raise Unacceptable("it holds no payload")
    return fingerprint, content.read_bytes()


def _run(folder: Path) -> list[list[str]]:
    if find_program("gpgv") is None:
        raise PolicyError("gpgv", "signatures by GnuPG cannot be verified on this machine", "install gpgv")
    # A small message can have a large content.
    argv = ("prlimit", f"--fsize={SIGNATURE_LIMIT}", "gpgv", "--homedir", str(folder), "--status-fd", "1")
    files = ("--keyring", str(folder / "ring"), "--output", str(folder / "content"), str(folder / "message"))
    try:
        done = Command((*argv, *files), "verify signatures of images", timeout=60.0).run()
    except MissingProgramError as error:
        raise PolicyError("gpgv", error.message, error.hint) from error
    except ProgramError as error:
        raise Unacceptable("gpgv does not accept it") from error
    lines = done.stdout.decode(errors="replace").splitlines()
    return [line.split()[1:] for line in lines if line.startswith("[GNUPG:] ")]


def _require_good(status: Sequence[Sequence[str]]) -> str:
    words = [line[0] for line in status if line]
    if _BAD & set(words):
        raise Unacceptable("the signature or its key is bad, expired or revoked")
    if [words.count(word) for word in ("NEWSIG", "GOODSIG", "VALIDSIG", "PLAINTEXT")] != [1, 1, 1, 1]:
        raise Unacceptable("it is not one good signature over one document")
    (valid,) = (line[1:] for line in status if line[0] == "VALIDSIG")
    if len(valid) != _VALID_FIELDS or valid[7] in _WEAK_HASHES:
        raise Unacceptable("its hash algorithm is too weak")
    return valid[9]


def _binary(data: bytes, source: str) -> bytes:
    blocks = _ARMOR.findall(data)
    try:
        found = b"".join(base64.b64decode(block, validate=False) for block in blocks) if blocks else data
    except binascii.Error as error:
        raise PolicyError(source, "a key of the policy cannot be read") from error
    if not found or not found[0] & 0x80:  # Every packet begins so (RFC 4880, 4.2).
        raise PolicyError(source, "a key file of the policy holds no OpenPGP key")
    return found
