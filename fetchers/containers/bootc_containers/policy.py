"""The signature policy of this machine: containers-policy.json(5), read strictly, evaluated before an image is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from bootc.errors import PolicyError
from bootc.image import ImageReference
from bootc_containers.places import Places
from bootc_containers.policy_file import Requirement, parse
from bootc_containers.policy_scopes import policy_transport, scopes
from bootc_containers.verification import ACCEPT, REJECT, Decision

_UPSTREAM_REFUSAL = f"containers-policy.json specifies a default of `{ACCEPT}`; refusing usage"


@frozen
class Policy:
    """One policy file."""

    path: Path
    """where it was read, so that a child process can be told to use the same file"""
    default: tuple[Requirement, ...]
    transports: Mapping[str, Mapping[str, tuple[Requirement, ...]]]
    """transport (`docker` for registries), scope, requirements"""
    root: Path = Path("/")
    """of the system whose storage.conf names the default containers-storage"""

    @classmethod
    def load(cls, root: Path = Path("/")) -> Policy:
        """The one file that counts. Raises PolicyError if there is none or it is not valid."""
        places = Places(root)
        explicit = places.variable("CONTAINERS_POLICY_JSON")
        candidates = (explicit,) if explicit else places.main("policy.json")
        for path in candidates:
            try:
                data = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise PolicyError(str(path), f"signature policy cannot be read: {error.strerror}") from error
            default, transports = parse(data, str(path))
            return cls(path, default, transports, root)
        looked = ", ".join(str(path) for path in candidates)
        raise PolicyError(looked, "no signature policy found", "install a policy.json; see containers-policy.json(5)")

    def decide(self, reference: ImageReference) -> Decision:
        """What the policy wants of an image. Raises PolicyError if nothing could make it acceptable here."""
        decision = self.applying(reference)
        decision.require_supported()
        return decision

    def applying(self, reference: ImageReference) -> Decision:
        """The requirements for an image, which another program may understand better. Raises PolicyError if it is
        rejected, or if they fall short of what the reference itself asks for."""
        if reference.signature is not None and reference.signature != "containerPolicy":
            raise PolicyError(reference.display, f"signatures by {reference.signature!r} are not supported")
        where, requirements = self.lookup(reference)
        if reference.signature is not None:
            self._require_signatures(reference, where, requirements)
        if any(requirement.type == REJECT for requirement in requirements):
            raise PolicyError(reference.display, f"rejected by policy ({where})", f"see {self.path}")
        return Decision(reference, where, requirements, self.path)

    def lookup(self, reference: ImageReference) -> tuple[str, tuple[Requirement, ...]]:
        """Transport and scope, and the list that applies. Raises PolicyError or ReferenceError."""
        transport = policy_transport(reference)
        table = self.transports.get(transport, {})
        for scope in scopes(reference, self.root) if any(table) else ():
            if scope in table:
                return f"{transport} {scope}", table[scope]
        if "" in table:
            return transport, table[""]
        return "default", self.default

    def _require_signatures(self, reference: ImageReference, where: str, requirements: tuple[Requirement, ...]) -> None:
        hint = f"see {self.path}"
        if [requirement.type for requirement in self.default] == [ACCEPT]:
            raise PolicyError(reference.display, _UPSTREAM_REFUSAL, hint)
        if all(requirement.type in (ACCEPT, REJECT) for requirement in requirements):
            raise PolicyError(reference.display, f"the policy that applies ({where}) requires no signature", hint)
