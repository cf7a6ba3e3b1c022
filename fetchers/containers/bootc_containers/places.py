"""Where configuration of container tools lies: containers-registries.conf(5) and its kin, in their search path of 2026.

The older search path is a part of it. A person's own files and the environment count only for the running system.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from bootc.errors import ConfigError

_FILE_LIMIT = 4 << 20


def _environment() -> dict[str, str]:
    return dict(os.environ)


@frozen
class Places:
    """The directories named `containers` of one system, below `root`."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(factory=_environment, repr=False)
    uid: int = field(factory=os.getuid)

    def main(self, name: str) -> tuple[Path, ...]:
        """Where a main file (`policy.json`) can lie; the first that exists counts alone."""
        return tuple(base / name for base in self._bases())

    def drop_ins(self, name: str, main: str, suffix: str) -> tuple[Path, ...]:
        """The files of the directories `MAIN.NAME` and `MAIN.rootful.NAME`, in the order in which they apply.

        A file hides those of the same name in later directories. Raises ConfigError for a directory that is there and
        cannot be read.
        """
        found: dict[str, Path] = {}
        for directory in self.directories(f"{main}.{name}", f"{main}.rootful.{name}", f"{main}.rootless.{name}"):
            for path in _listed(directory):
                if path.name.endswith(suffix):
                    found.setdefault(path.name, path)
        return tuple(found[name] for name in sorted(found))

    def directories(self, plain: str, rootful: str, rootless: str) -> Iterator[Path]:
        """Directories of drop-ins, the most important first; they need not exist."""
        own = (rootful,) if self.uid == 0 else (f"{rootless}/{self.uid}", rootless)
        for base in self._bases():
            if base.is_relative_to(self.root / "etc") or base.is_relative_to(self.root / "usr"):
                yield from (base / name for name in own)
            yield base / plain

    def certificates(self, authority: str) -> Path | None:
        """The directory of certs.d for HOST[:PORT] as it stands in names of images; the first one counts alone."""
        bases = [*self.directories("certs.d", "certs.rootful.d", "certs.rootless.d"), self.root / "etc/docker/certs.d"]
        return next((base / authority for base in bases if (base / authority).is_dir()), None)

    def variable(self, name: str) -> Path | None:
        """The file that a variable of the environment names, on the running system."""
        text = self.environment.get(name) if self._has_person else None
        return Path(text) if text else None

    @property
    def _has_person(self) -> bool:
        return self.root == Path("/")

    def _bases(self) -> tuple[Path, ...]:
        system = (self.root / "etc/containers", self.root / "usr/share/containers")
        if not self._has_person:
            return system
        home = Path(self.environment.get("HOME") or "/root")
        return Path(self.environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers", *system


def read_bounded(path: Path) -> bytes:
    """A whole file of at most 4 MiB. Raises ConfigError, but FileNotFoundError if there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
    except OSError as error:
        raise ConfigError(str(path), None, f"cannot be read: {error.strerror}") from error
    if len(data) > _FILE_LIMIT:
        raise ConfigError(str(path), None, f"is larger than {_FILE_LIMIT} bytes")
    return data


def _listed(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if not path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(str(directory), None, f"cannot be read: {error.strerror}") from error
