"""What was read of /etc/containers here, as a file for skopeo, whose own reading depends on its age."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from attrs import evolve, frozen
from bootc_containers.lookaside import SignatureConfiguration
from bootc_containers.names import RegistryName
from bootc_containers.places import Places
from bootc_containers.registries import PullSource, Registries, is_listed
from bootc_containers.registries_file import AUTH_FILES

from bootc.durable import explain
from bootc.errors import UnsupportedError
from bootc.image import ImageReference

NO_CREDENTIALS = ("--no-creds",)
_NO_ENTRIES = "auth.json"
_SIGNATURES = "registries.d"
_HINT = "let the fetcher `registry` fetch it, or keep the entry in /etc/containers/registries.conf"


@frozen
class Handover:
    """A registries.conf for one image, and the directory with certificates that skopeo would not find."""

    registries: str
    certificates: Path | None
    has_helpers: bool
    """whether registries.conf names programs to ask for credentials"""
    signatures: str | None = None
    """a file for registries.d, where signatures are to be looked for"""

    @classmethod
    def of(
        cls, reference: ImageReference, places: Places, insecure: Sequence[str], needs_signatures: bool = False
    ) -> Handover:
        """Raises PolicyError for what is blocked, UnsupportedError for what skopeo cannot be told."""
        configuration = Registries.load(places)
        configuration.require_unambiguous(reference.name)
        name = RegistryName.parse(reference.name)
        sources = _sources(configuration, name, reference, insecure)
        prefix = str(name.repository)
        for path in _read_by_skopeo(places):
            # Drop-ins are read after the file that we name, and replace the table of the same prefix.
            theirs = Registries().with_file(path, is_drop_in=True)
            if prefix in theirs.registries and _sources(theirs.only(prefix), name, reference, ()) != sources:
                problem = f"skopeo would follow {path} for {prefix}, although other configuration replaces it"
                raise UnsupportedError(reference.display, problem, _HINT)
        return cls(
            _document(prefix, sources, configuration.helpers),
            _certificates(places, sources, reference),
            any(helper != AUTH_FILES for helper in configuration.helpers),
            json.dumps(SignatureConfiguration.load(places).document) if needs_signatures else None,
        )

    def write(self, folder: Path) -> tuple[str, ...]:
        """Flags that name files in skopeo's directory. They are put there, unless a close of the fetcher removed it.

        They appear whole, and are never written again: a skopeo that was started before may be reading them.
        """
        path = folder / f"registries-{hashlib.sha256(self.registries.encode()).hexdigest()[:16]}.conf"
        try:
            with suppress(FileNotFoundError):
                _appear(path, self.registries)
                _appear(folder / _NO_ENTRIES, "{}")
                if self.signatures is not None:
                    (folder / _SIGNATURES).mkdir(exist_ok=True)
                    _appear(folder / _SIGNATURES / "all.yaml", self.signatures)
        except OSError as error:
            raise explain(error, str(error.filename or folder)) from error
        told = ("--registries.d", str(folder / _SIGNATURES)) if self.signatures is not None else ()
        return ("--registries-conf", str(path), *told)

    def flags(self, credentials: tuple[str, ...], folder: Path) -> tuple[str, ...]:
        """The flags for credentials and certificates."""
        if self.has_helpers and credentials == NO_CREDENTIALS:
            credentials = ("--authfile", str(folder / _NO_ENTRIES))  # The helpers, but nobody's files.
        return (*credentials, "--cert-dir", str(self.certificates)) if self.certificates else credentials


def _appear(path: Path, text: str) -> None:
    if not path.exists():
        temporary = path.with_name(f"{path.name}.{threading.get_ident()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.rename(path)


def _sources(
    configuration: Registries, name: RegistryName, reference: ImageReference, insecure: Sequence[str]
) -> tuple[PullSource, ...]:
    found = configuration.sources(name, reference.display)
    return tuple(
        evolve(source, is_insecure=source.is_insecure or is_listed(source.name.repository.domain, insecure))
        for source in found
    )


def _document(prefix: str, sources: Sequence[PullSource], helpers: Sequence[str]) -> str:
    *mirrors, primary = sources
    lines = [f"credential-helpers = {json.dumps(list(helpers))}", "[[registry]]", f"prefix = {json.dumps(prefix)}"]
    lines += _endpoint(primary)
    for mirror in mirrors:
        lines += ["[[registry.mirror]]", *_endpoint(mirror)]
    return "\n".join(lines) + "\n"


def _endpoint(source: PullSource) -> list[str]:
    location = json.dumps(str(source.name.repository))
    return [f"location = {location}", f"insecure = {json.dumps(source.is_insecure)}"]


def _read_by_skopeo(places: Places) -> list[Path]:
    """Drop-ins that skopeo of every age reads. It is told who its user is only if that one's credentials count."""
    homes = dict.fromkeys((places.root / "root", Path(places.environment.get("HOME") or places.root / "root")))
    personal = (home / ".config/containers/registries.conf.d" for home in homes)
    directories = (places.root / "etc/containers/registries.conf.d", *personal)
    return [path for directory in directories for path in sorted(directory.glob("*.conf"))]


def _certificates(places: Places, sources: Sequence[PullSource], reference: ImageReference) -> Path | None:
    """The directory that only newer versions of skopeo look into. It can be told of one, for all servers."""
    domains = dict.fromkeys(source.name.repository.domain for source in sources)
    found = [places.certificates(domain) for domain in domains]
    old = ("etc/containers/certs.d", "etc/docker/certs.d", "root/.config/containers/certs.d")
    new = [path for path in found if path and not any(path.is_relative_to(places.root / base) for base in old)]
    if new and len(domains) > 1:
        problem = f"skopeo may not find the certificates in {new[0]}, and several registries serve the image"
        raise UnsupportedError(reference.display, problem, "let the fetcher `registry` fetch it")
    return new[0] if new else None
