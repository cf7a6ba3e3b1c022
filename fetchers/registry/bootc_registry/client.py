"""One registry: requests with authorization, over https or (where allowed) http, through redirects."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlunsplit

from bootc_containers.credentials import Credentials

from bootc.errors import AuthenticationError, NetworkError, ProtocolError
from bootc.events import Notice, Report
from bootc_registry.addresses import redirected
from bootc_registry.answer import Answer
from bootc_registry.challenge import parse_challenges
from bootc_registry.endpoint import Endpoint
from bootc_registry.exchange import Http
from bootc_registry.failures import failure
from bootc_registry.options import RegistryOptions
from bootc_registry.realms import RememberedRealms
from bootc_registry.retry import Interruption, RetryRule, Tries
from bootc_registry.tokens import Authorizer
from bootc_registry.waiting import Waiting

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOPS = 10
_LOGINS = 2
"""401s that are answered with something new, for one request"""
_MIRROR_RETRIES = 1
_MIRROR_WISH = 2.0
"""seconds that a mirror may have us wait"""
_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.){1,500})"')


class RegistryClient:
    """Requests below `/v2/PATH/` of one repository. For several threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        source: str,
        options: RegistryOptions,
        http: Http,
        waiting: Waiting,
        lookup: Callable[[str], Credentials | None],
        realms: RememberedRealms,
        report: Report,
    ) -> None:
        self.source = source
        """the image's name, for messages"""
        self.endpoint = endpoint
        self._repository, self._options, self._http = endpoint.repository, options, http
        self._waiting, self._report = waiting, report
        self._authorizer = Authorizer(endpoint, source, http, lookup, realms)
        self._scheme = None if endpoint.is_insecure else "https"
        self._finding_scheme = threading.Lock()
        self._warnings: set[str] = set()

    def tries(self) -> Tries:
        """A new budget of tries; a small one where another server can be asked instead."""
        rule = RetryRule(self._options.retries, self._options.backoff)
        if self.endpoint.is_mirror:
            rule = RetryRule(min(rule.retries, _MIRROR_RETRIES), rule.first_pause, _MIRROR_WISH)
        return Tries(self.source, rule, self._waiting)

    def check(self) -> None:
        """Raise CancelledError if the work is to end."""
        self._waiting.check()

    @contextmanager
    def request(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        """As `send`, closed at the end."""
        answer = self.send(method, path, headers)
        try:
            yield answer
        finally:
            self._http.done(answer)

    def send(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """One try; the answer can have any status. Give it to `done`. Raises FetchError or Interruption.

        A path that begins with a slash is not below the repository.
        """
        self.check()
        for _ in range(_LOGINS):
            used = self._authorizer.header()
            answer = self._redirected(method, path, headers, used)
            if answer.status != 401 or not self._is_own(answer.address):
                return answer
            self._learn(answer, used)
        used = self._authorizer.header()
        answer = self._redirected(method, path, headers, used)
        if answer.status == 401 and self._is_own(answer.address):
            self._http.done(answer)
            problem = f"{self._repository.authority} does not accept the token that it asked for"
            raise AuthenticationError(self.source, problem, "check the credentials, and this machine's clock")
        return answer

    def warn(self, text: str) -> None:
        """Tell the user, once."""
        if text not in self._warnings:
            self._warnings.add(text)
            self._report(Notice(text, is_warning=True))

    def done(self, answer: Answer) -> None:
        """Close an answer that `send` gave."""
        self._http.done(answer)

    def _redirected(self, method: str, path: str, headers: Mapping[str, str], authorization: str | None) -> Answer:
        """Follow redirects by hand: only the registry itself may see the authorization."""
        own = {**headers, "Authorization": authorization} if authorization else headers
        whole = path if path.startswith("/") else f"/v2/{self._repository.path}/{path}"
        answer = self._own(method, whole, own)
        for _ in range(_HOPS):
            self._show_warning(answer)
            if answer.status not in _REDIRECTS:
                return answer
            try:
                target = self._target(answer)
            finally:
                answer.discard()
                self._http.done(answer)
            is_own = self._is_own(target)
            peer = self.endpoint.peer if is_own else None
            fields = own if is_own else headers
            answer = self._http.exchange(method, target, fields, source=self.source, peer=peer, blob=_blob(whole))
        self._http.done(answer)
        raise ProtocolError(self.source, f"{self._repository.authority} redirects more than {_HOPS} times")

    def _own(self, method: str, path: str, fields: Mapping[str, str]) -> Answer:
        if self._scheme is None:
            with self._finding_scheme:
                if self._scheme is None:
                    return self._first(method, path, fields)
        return self._exchange(self._scheme, method, path, fields)

    def _first(self, method: str, path: str, fields: Mapping[str, str]) -> Answer:
        """First contact with an insecure registry: https if it answers, else http."""
        failures: list[Interruption | NetworkError] = []
        for scheme in ("https", "http"):
            try:
                answer = self._exchange(scheme, method, path, fields)
            except (Interruption, NetworkError) as error:
                failures.append(error)
            else:
                self._scheme = scheme
                return answer
        problems = dict.fromkeys(failure.problem for failure in reversed(failures))
        raise Interruption("; ".join(problems), failures[0].hint) from failures[0]

    def _exchange(self, scheme: str, method: str, path: str, fields: Mapping[str, str]) -> Answer:
        address = f"{scheme}://{self._repository.authority}{path}"
        peer = self.endpoint.peer
        return self._http.exchange(method, address, fields, source=self.source, peer=peer, blob=_blob(path))

    def _target(self, answer: Answer) -> str:
        parts = redirected(answer.address, answer.headers.get("Location", ""))
        host = self._repository.authority
        if parts is None:
            raise ProtocolError(self.source, f"{host} redirects to an address that cannot be followed")
        is_downgrade = parts.scheme == "http" and answer.address.startswith("https:")
        is_allowed = self._http.is_insecure(parts.netloc) or (self.endpoint.is_insecure and parts.netloc == host)
        if is_downgrade and not is_allowed:
            raise ProtocolError(self.source, f"{host} redirects from https to http")
        return urlunsplit((parts.scheme, parts.netloc, parts.path, parts.query, ""))

    def _is_own(self, address: str) -> bool:
        return address.startswith(f"{self._scheme}://{self._repository.authority}/")

    def _learn(self, answer: Answer, used: str | None) -> None:
        challenges = parse_challenges(answer.headers.get("WWW-Authenticate", ""))
        answer.discard()
        self._http.done(answer)
        if not challenges:
            challenges = parse_challenges(self._ping().get("WWW-Authenticate", ""))
        self._authorizer.learn(challenges, used)

    def offers_signatures(self) -> bool:
        """Whether the registry keeps simple signatures by an interface of its own (OpenShift's extension)."""
        tries = self.tries()
        while True:
            with tries.one():
                return self._ping().get("X-Registry-Supports-Signatures") == "1"

    def _ping(self) -> Mapping[str, str]:
        """The headers of the base address: for registries whose other 401s hold no challenge, and for extensions."""
        answer = self._own("GET", "/v2/", {})
        try:
            if answer.status == 429 or answer.status >= 500:
                raise failure(answer, self.source, "registry")
            answer.discard()
            return answer.headers
        finally:
            self._http.done(answer)

    def _show_warning(self, answer: Answer) -> None:
        """Tell the user once what the registry wants to say (distribution specification, warnings)."""
        for text in _WARNING.findall(answer.headers.get("Warning", "")) if self._is_own(answer.address) else ():
            if text.isprintable():
                self.warn(f"{self._repository.authority} says: {text}")


def _blob(path: str) -> str:
    """The digest of the blob that a path below `/v2/` names; empty if it names something else."""
    return path.rpartition("/blobs/")[2] if "/blobs/" in path else ""
