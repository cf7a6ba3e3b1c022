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
from bootc_containers.names import Repository

from bootc.errors import AuthenticationError, FetchError, ProtocolError
from bootc.manifest import strict_json
from bootc_registry.challenge import Challenge
from bootc_registry.exchange import Answer, Http
from bootc_registry.failures import failure
from bootc_registry.options import RegistryOptions
from bootc_registry.realms import Realm, RememberedRealms
from bootc_registry.retry import Interruption

_TOKEN_LIMIT = 1 << 20
_SHORTEST_LIFE = 60.0
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
        repository: Repository,
        source: str,
        options: RegistryOptions,
        http: Http,
        lookup: Callable[[str], Credentials | None],
        realms: RememberedRealms,
    ) -> None:
        self._repository, self._source, self._options, self._http = repository, source, options, http
        self._lookup, self._realms = lookup, realms
        self._lock = threading.Lock()
        self._basic: str | None = None
        self._token: _Token | None = None
        self._scopes: tuple[str, ...] = (f"repository:{repository.path}:pull",)
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

    def learn(self, challenges: tuple[Challenge, ...], used: str | None, *, is_tls: bool) -> None:
        """Take in what a 401 to a request with `used` said. Raises AuthenticationError if there is no way on."""
        with self._lock:
            current = self._basic if self._realm is None else self._token and f"Bearer {self._token.value}"
            if used is not None and current is not None and current != used:
                return
            for challenge in challenges:
                if challenge.scheme == "bearer":
                    self._learn_bearer(challenge, is_tls=is_tls)
                    return
            if any(challenge.scheme == "basic" for challenge in challenges):
                self._learn_basic(used)
                return
        raise AuthenticationError(self._source, f"{self._repository.authority} offers no known way to log in")

    def _learn_basic(self, used: str | None) -> None:
        credentials = self._credentials()
        if credentials is None or not credentials.username:
            raise AuthenticationError(self._source, f"{self._repository.authority} wants a login", _LOGIN_HINT)
        self._realm, self._basic = None, _basic(credentials)
        if used == self._basic:
            raise self._refused(self._repository.authority)

    def _learn_bearer(self, challenge: Challenge, *, is_tls: bool) -> None:
        address = challenge.parameters.get("realm", "")
        self._require_safe(address, is_tls=is_tls)
        wanted = challenge.parameters.get("scope")
        if challenge.parameters.get("error") == "insufficient_scope" and wanted and wanted not in self._scopes:
            self._scopes = (self._scopes[0], wanted)
        self._realm, self._is_guess = Realm(address, challenge.parameters.get("service")), False
        self._token = None
        if is_tls and not self._options.is_insecure(self._repository.domain):
            self._realms.put(self._repository.domain, self._realm)

    def _remembered(self) -> Realm | None:
        """What the registry named over TLS at an earlier time."""
        realm = self._realms.get(self._repository.domain)
        if realm is not None and not self._options.is_insecure(self._repository.domain):
            with suppress(ProtocolError):
                self._require_safe(realm.address, is_tls=True)
                return realm
        return None

    def _require_safe(self, address: str, *, is_tls: bool) -> None:
        """Credentials go to this address: it must have been named over TLS, and use TLS, unless configured."""
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        own = urlsplit(f"//{self._repository.authority}").hostname
        is_plain_allowed = not is_tls and (host == own or self._options.is_insecure(parts.netloc))
        is_readable = bool(host) and "@" not in parts.netloc and port != 0 and _TOKEN.fullmatch(address)
        if not is_readable or (parts.scheme != "https" and not (parts.scheme == "http" and is_plain_allowed)):
            problem = f"{self._repository.authority} names a token server that is not https"
            raise ProtocolError(self._source, problem, "a registry without TLS must be listed as `insecure`")

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
        answer = self._http.exchange(method, address, fields, source=self._source, data=form)
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
        seconds = max(float(life), _SHORTEST_LIFE) if isinstance(life, int | float) else _SHORTEST_LIFE
        return _Token(value, started + seconds - max(_MARGIN, seconds / 10))

    def _credentials(self) -> Credentials | None:
        try:
            return self._lookup(str(self._repository))
        except AuthenticationError as error:
            raise AuthenticationError(self._source, error.problem, error.hint) from error

    def _refused(self, host: str) -> AuthenticationError:
        return AuthenticationError(self._source, f"{host} refused the credentials", _LOGIN_HINT)


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
