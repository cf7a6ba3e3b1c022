"""Answering a registry's challenges for one repository: basic, and bearer tokens (distribution, token auth)."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from attrs import field, frozen
from bootc_containers.credentials import Credentials

from bootc.errors import AuthenticationError, FetchError, ProtocolError
from bootc.manifest import strict_json
from bootc_registry.answer import Answer
from bootc_registry.challenge import Challenge
from bootc_registry.endpoint import Endpoint
from bootc_registry.exchange import Http
from bootc_registry.failures import failure
from bootc_registry.realms import Realm, RememberedRealms
from bootc_registry.retry import Interruption

_TOKEN_LIMIT = 1 << 20
_SHORTEST_LIFE = 60.0
_LONGEST_LIFE = 86400.0
_MARGIN = 30.0
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_CLIENT = "bootc"
_LOGIN_HINT = "credentials are read from /etc/ostree/auth.json; see containers-auth.json(5)"


@frozen
class _Token:
    value: str = field(repr=False)
    expires: float
    """on the monotonic clock; renewed a little earlier"""


class Authorizer:
    """What one repository's registry gets as `Authorization`. For several threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        source: str,
        http: Http,
        lookup: Callable[[str], Credentials | None],
        realms: RememberedRealms,
    ) -> None:
        self._endpoint, self._source, self._http = endpoint, source, http
        self._lookup, self._realms = lookup, realms
        self._lock = threading.Lock()
        self._basic: str | None = None
        self._token: _Token | None = None
        self._scopes: tuple[str, ...] = (f"repository:{endpoint.repository.path}:pull",)
        self._realm: Realm | None = self._remembered()
        self._is_guess = self._realm is not None

    def header(self) -> str | None:
        """The field's value for the next request; fetches a token where one is needed and the last is nearly over.

        Raises FetchError, and Interruption if the token server may answer the next time.
        """
        with self._lock:
            if self._realm is None:
                return self._basic
            if self._token is None or time.monotonic() >= self._token.expires:
                try:
                    self._token = self._fetch(self._realm)
                except (Interruption, FetchError):
                    if not self._is_guess:
                        raise
                    self._realm = None  # The registry will say where its tokens come from now.
                    return self._basic
            return f"Bearer {self._token.value}"

    def learn(self, challenges: tuple[Challenge, ...], used: str | None) -> None:
        """Take in what a 401 to a request with `used` said. Raises AuthenticationError if there is no way on."""
        with self._lock:
            current = self._basic if self._realm is None else self._token and f"Bearer {self._token.value}"
            if used is not None and current is not None and current != used:
                return
            for challenge in challenges:
                if challenge.scheme == "bearer":
                    self._learn_bearer(challenge)
                    return
            if any(challenge.scheme == "basic" for challenge in challenges):
                self._learn_basic(used)
                return
        raise AuthenticationError(self._source, f"{self._endpoint.authority} offers no known way to log in")

    def _learn_basic(self, used: str | None) -> None:
        credentials = self._credentials()
        if credentials is None or not credentials.username:
            raise AuthenticationError(self._source, f"{self._endpoint.authority} wants a login", _LOGIN_HINT)
        self._realm, self._basic = None, _basic(credentials)
        if used == self._basic:
            raise self._refused(self._endpoint.authority)

    def _learn_bearer(self, challenge: Challenge) -> None:
        address = challenge.parameters.get("realm", "")
        self._require_safe(address)
        wanted = challenge.parameters.get("scope")
        if challenge.parameters.get("error") == "insufficient_scope" and wanted and wanted not in self._scopes:
            self._scopes = (self._scopes[0], wanted)
        self._realm, self._is_guess = Realm(address, challenge.parameters.get("service")), False
        self._token = None
        if not self._endpoint.is_insecure:
            self._realms.put(self._endpoint.repository.domain, self._realm)

    def _remembered(self) -> Realm | None:
        """What the registry named over TLS at an earlier time."""
        realm = None if self._endpoint.is_insecure else self._realms.get(self._endpoint.repository.domain)
        if realm is not None:
            with suppress(ProtocolError):
                self._require_safe(realm.address)
                return realm
        return None

    def _require_safe(self, address: str) -> None:
        """Credentials go to this address. An endpoint that proved who it is may name any that uses TLS; an insecure one
        may name itself and what is listed as insecure, and others only as long as there is nothing to give away."""
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if not host or "@" in parts.netloc or port == 0 or not _TOKEN.fullmatch(address):
            parts = urlsplit("")
        is_near = host == self._endpoint.host or self._http.is_insecure(parts.netloc)
        if parts.scheme != "https" and not (parts.scheme == "http" and self._endpoint.is_insecure and is_near):
            problem = f"{self._endpoint.authority} names a token server that is not https"
            raise ProtocolError(self._source, problem, "a registry without TLS must be listed as `insecure`")
        if self._endpoint.is_insecure and not is_near and self._credentials() is not None:
            problem = f"{self._endpoint.authority} did not prove who it is, and wants the credentials sent to {host}"
            raise AuthenticationError(self._source, problem, "list the token server as `insecure` if it is meant")

    def _fetch(self, realm: Realm) -> _Token:
        credentials = self._credentials()
        form = None
        fields: Mapping[str, str] = {}
        if credentials and credentials.identity_token:
            address, form = realm.address, _refresh_form(realm, self._scopes, credentials.identity_token)
        else:
            username = credentials.username if credentials else ""
            address = _address(realm, self._scopes, username)
            fields = {"Authorization": _basic(credentials)} if credentials and username else {}
        started = time.monotonic()
        method = "GET" if form is None else "POST"
        peer = self._endpoint.peer if urlsplit(address).netloc == self._endpoint.authority else None
        answer = self._http.exchange(method, address, fields, source=self._source, peer=peer, data=form)
        try:
            return self._read_token(answer, started, has_login=bool(form or fields))
        finally:
            self._http.done(answer)

    def _read_token(self, answer: Answer, started: float, *, has_login: bool) -> _Token:
        if answer.status in (400, 401, 403):
            if has_login:
                raise self._refused(answer.host)
            raise AuthenticationError(self._source, f"{answer.host} gives no token without a login", _LOGIN_HINT)
        if answer.status != 200:
            raise failure(answer, self._source, "token")
        reply = strict_json(answer.read_all(_TOKEN_LIMIT, self._source), self._source)
        value = reply.get("token") or reply.get("access_token")
        if not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise ProtocolError(self._source, f"the answer of {answer.host} holds no token")
        life = reply.get("expires_in")
        seconds = min(max(life, _SHORTEST_LIFE), _LONGEST_LIFE) if isinstance(life, int | float) else _SHORTEST_LIFE
        return _Token(value, started + seconds - max(_MARGIN, seconds / 10))

    def _credentials(self) -> Credentials | None:
        try:
            return self._lookup(str(self._endpoint.repository))
        except AuthenticationError as error:
            raise AuthenticationError(self._source, error.problem, error.hint) from error

    def _refused(self, host: str) -> AuthenticationError:
        credentials = self._credentials()
        if credentials is None:
            return AuthenticationError(self._source, f"{host} refused the credentials", _LOGIN_HINT)
        problem = f"{host} refused the credentials from {credentials.origin}"
        return AuthenticationError(self._source, problem, "correct them there; see containers-auth.json(5)")


def _address(realm: Realm, scopes: tuple[str, ...], username: str) -> str:
    parts = urlsplit(realm.address)
    query = parse_qsl(parts.query, keep_blank_values=True)
    query += [("account", username)] if username else []
    query += [("service", realm.service)] if realm.service else []
    query += [("scope", scope) for scope in scopes]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))


def _refresh_form(realm: Realm, scopes: tuple[str, ...], token: str) -> Mapping[str, str]:
    service = {"service": realm.service} if realm.service else {}
    scope = " ".join(scopes)
    return {"grant_type": "refresh_token", "refresh_token": token, "client_id": _CLIENT, "scope": scope, **service}


def _basic(credentials: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
