"""What decides how an image is fetched, in short texts for people: `bootc status -v`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import evolve, frozen

from bootc.errors import BootcError, PolicyError
from bootc.image import ImageReference
from bootc_containers.auth import CredentialSources
from bootc_containers.lookaside import SignatureConfiguration, shown
from bootc_containers.names import RegistryName
from bootc_containers.places import Places
from bootc_containers.policy import Policy
from bootc_containers.registries import PullSource, Registries, is_listed


@frozen
class Configuration:
    """What both fetchers read: all files, and what their own tables say."""

    places: Places
    credentials: CredentialSources
    """helpers of registries.conf are added here"""
    insecure: Sequence[str] = ()

    def explain(self, reference: ImageReference) -> Mapping[str, str]:
        """Labels and texts, in the order to be shown; a file that is not valid is told of in its place."""
        found = {"Policy": _said(lambda: self._policy(reference))}
        if reference.transport != "registry":
            return found
        return {
            **found,
            "Signatures": _said(lambda: self._signatures(reference)),
            "Registries": _said(self._files),
            "Servers": _said(lambda: ", then ".join(map(_server, self._sources(reference)))),
            "Credentials": _said(lambda: self._credentials(reference)),
        }

    def _policy(self, reference: ImageReference) -> str:
        policy = Policy.load(self.places.root)
        where, requirements = policy.lookup(reference)
        text = f"{policy.path}: {', '.join(requirement.type for requirement in requirements)} ({where})"
        try:
            policy.applying(reference)
        except PolicyError as error:
            return f"{text}; refused: {error.problem}"
        return text

    def _files(self) -> str:
        return ", ".join(map(str, Registries.load(self.places).files)) or "no registries.conf"

    def _sources(self, reference: ImageReference) -> tuple[PullSource, ...]:
        registries = Registries.load(self.places)
        registries.require_unambiguous(reference.name)
        found = registries.sources(RegistryName.parse(reference.name), reference.display)
        return tuple(
            evolve(source, is_insecure=source.is_insecure or is_listed(source.name.repository.domain, self.insecure))
            for source in found
        )

    def _credentials(self, reference: ImageReference) -> str:
        """One text if there is one server, else one for each."""
        credentials = evolve(self.credentials, helpers=Registries.load(self.places).helpers)
        found = {str(source.name.repository): source for source in self._sources(reference)}
        texts = {repository: credentials.whence(repository) for repository in found}
        if len(texts) == 1:
            return next(iter(texts.values()))
        return "; ".join(f"{repository}: {text}" for repository, text in texts.items())

    def _signatures(self, reference: ImageReference) -> str:
        """Where they would be looked for on the image's own server."""
        configuration = SignatureConfiguration.load(self.places)
        *_, primary = self._sources(reference)
        where = shown(configuration.base(primary.name))
        return f"{where}, and beside the image" if configuration.uses_attachments(primary.name) else where


def _server(source: PullSource) -> str:
    notes = [word for word, holds in (("mirror", source.is_mirror), ("insecure", source.is_insecure)) if holds]
    return f"{source.name.repository} ({', '.join(notes)})" if notes else str(source.name.repository)


def _said(tell: Callable[[], str]) -> str:
    try:
        return tell()
    except BootcError as error:
        return f"cannot be used: {error.message}"
