"""GnuPG keys of a test's own, and simple signing with them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

YESTERYEAR = "20200101T000000"


class Keys:
    """A home directory of GnuPG. Keys are known by their user ids."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)

    def run(self, *arguments: str, data: bytes = b"") -> bytes:
        command = ["gpg", "--batch", "--quiet", "--yes", "--passphrase", "", "--pinentry-mode", "loopback", *arguments]
        done = subprocess.run(command, input=data, capture_output=True, env=self.environment)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """For programs that are to use these keys."""
        return {**os.environ, "GNUPGHOME": str(self.folder)}

    def make(self, name: str, *options: str, days: str = "never") -> str:
        """A new key; returns its fingerprint."""
        self.run(*options, "--quick-gen-key", name, "ed25519", "sign", days)
        return self.fingerprint(name)

    def fingerprint(self, name: str) -> str:
        """Of the primary key."""
        lines = self.run("--list-keys", "--with-colons", name).decode().splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr"))

    def public(self, *names: str, armored: bool = False) -> bytes:
        """Public keys as one file."""
        return self.run(*(["--armor"] if armored else []), "--export", *names)

    def sign(self, name: str, payload: bytes, *options: str) -> bytes:
        """A signed message."""
        return self.run("--local-user", name, *options, "--sign", data=payload)

    def close(self) -> None:
        """End the agent that GnuPG started."""
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], env=self.environment, check=False, capture_output=True)


def payload(digest: str, reference: str, **critical: Any) -> bytes:
    """What simple signing signs (containers-signature(5)); further members of `critical` replace the right ones."""
    document = {
        "type": "atomic container signature",
        "image": {"docker-manifest-digest": digest},
        "identity": {"docker-reference": reference},
        **critical,
    }
    return json.dumps({"critical": document, "optional": {"creator": "test", "timestamp": 1}}).encode()
