"""Which token servers the registries named, remembered in /run: the next check need not ask, and costs one HEAD."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path, PurePosixPath

from attrs import frozen

from bootc.durable import DirectoryVolume
from bootc.errors import BootcError
from bootc.manifest import strict_json

_FILE = PurePosixPath("bootc/token-servers.json")
_LIMIT = 100
"""registries that are remembered"""


@frozen
class Realm:
    """Where tokens come from, and for which service (distribution specification, token auth)."""

    address: str
    service: str | None


class RememberedRealms:
    """A cache that may be lost, stale or absent (`run` is None on a system that is not booted); nothing here fails."""

    def __init__(self, run: Path | None) -> None:
        self._volume = DirectoryVolume(run, "run") if run else None

    def get(self, domain: str) -> Realm | None:
        """What the registry named last. It can be wrong by now."""
        entry = self._read().get(domain)
        if not isinstance(entry, dict):
            return None
        address, service = entry.get("realm"), entry.get("service")
        if not isinstance(address, str) or not isinstance(service, str | None):
            return None
        return Realm(address, service)

    def put(self, domain: str, realm: Realm) -> None:
        """Remember what the registry named."""
        if self._volume is None or self.get(domain) == realm:
            return
        entries = {name: entry for name, entry in self._read().items() if name != domain}
        entries = dict(list(entries.items())[1 - _LIMIT :])
        entries[domain] = {"realm": realm.address, "service": realm.service}
        with suppress(BootcError, OSError):
            self._volume.make_directories(_FILE.parent)
            self._volume.replace(_FILE, json.dumps(entries).encode(), mode=0o600)

    def _read(self) -> dict[str, object]:
        if self._volume is not None:
            with suppress(BootcError, OSError):
                return strict_json(self._volume.read(_FILE), str(_FILE))
        return {}
