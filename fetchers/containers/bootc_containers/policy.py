"""The signature policy of this machine: containers-policy.json(5), read strictly, evaluated before an image is used."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

from bootc.errors import PolicyError
from bootc.image import ImageReference
from bootc_containers.policy_file import Requirement, parse
from bootc_containers.policy_scopes import policy_transport, scopes

ACCEPT = "insecureAcceptAnything"
REJECT = "reject"
_UPSTREAM_REFUSAL = f"containers-policy.json specifies a default of `{ACCEPT}`; refusing usage"


@frozen
class Policy:
    """One policy file. Only `insecureAcceptAnything` can accept an image so far; what needs a signature is refused."""

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
        candidates = list(_candidates(root))
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

    def require(self, reference: ImageReference) -> str:
        """Which requirement accepts the image, as text for the record. Raises PolicyError if none does."""
        if reference.signature is not None and reference.signature != "containerPolicy":
            raise PolicyError(reference.display, f"signatures by {reference.signature!r} are not supported")
        where, requirements = self._applying(reference)
        if reference.signature is not None:
            self._require_signatures(reference, where, requirements)
        for requirement in requirements:
            if requirement.type == REJECT:
                raise PolicyError(reference.display, f"rejected by policy ({where})", f"see {self.path}")
            if requirement.type != ACCEPT:
                problem = f"the policy requires {requirement.type} ({where}), which cannot be verified yet"
                raise PolicyError(reference.display, problem, f"see {self.path}")
        return f"{ACCEPT} ({where})"

    def _applying(self, reference: ImageReference) -> tuple[str, tuple[Requirement, ...]]:
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


def _candidates(root: Path) -> Iterator[Path]:
    if root == Path("/"):
        override = os.environ.get("CONTAINERS_POLICY_JSON")
        if override:
            yield Path(override)
            return
        yield Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "containers/policy.json"
    yield root / "etc/containers/policy.json"
    yield root / "usr/share/containers/policy.json"
