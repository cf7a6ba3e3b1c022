"""Credential helpers: programs `docker-credential-NAME` that keep secrets (docker-credential-helpers, protocol)."""

from __future__ import annotations

import re

from bootc.errors import AuthenticationError, ConfigError, MissingProgramError, ProgramError, ProtocolError
from bootc.machine import Command
from bootc.manifest import strict_json
from bootc_containers.credentials import Credentials

_LIMIT = 64 << 10
_TIMEOUT = 60.0
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HAS_NONE = b"credentials not found in native keychain"


def ask(name: object, host: str, repository: str, where: tuple[str, str]) -> Credentials | None:
    """What `docker-credential-NAME get` says for a host, HOST[:PORT]; None if it has nothing.

    `where` is the file and the key that name the helper. The output is a secret, so no message quotes it. Raises
    ConfigError for a name that is none, AuthenticationError if the helper fails.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(*where, "not the name of a credential helper")
    program = f"docker-credential-{name}"
    problem = f"credential helper {program} for {host}"
    command = Command(
        (program, "get"),
        f"get the credentials for {host}, as {where[0]} says",
        codes=frozenset(range(256)),
        input=host.encode(),
        timeout=_TIMEOUT,
    )
    try:
        outcome = command.run()
    except MissingProgramError as error:
        raise AuthenticationError(repository, f"{problem} is not installed", error.hint) from error
    except ProgramError as error:
        raise AuthenticationError(repository, f"{problem} did not end properly ({error.code})") from None
    if outcome.code != 0:
        if _HAS_NONE in outcome.stdout + outcome.stderr:
            return None
        raise AuthenticationError(repository, f"{problem} failed with exit code {outcome.code}")
    return _answer(outcome.stdout, repository, problem, program)


def _answer(output: bytes, repository: str, problem: str, program: str) -> Credentials | None:
    try:
        answer = strict_json(output[:_LIMIT], repository)
    except ProtocolError:
        raise AuthenticationError(repository, f"{problem} answered something that is not JSON") from None
    username, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise AuthenticationError(repository, f"{problem} did not answer with `Username` and `Secret`")
    if username == "<token>":
        return Credentials(identity_token=secret, origin=program)
    return Credentials(username, secret, origin=program) if username or secret else None
