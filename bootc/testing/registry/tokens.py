"""Bearer tokens of a fake registry (distribution, token authentication)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from attrs import define, field

from bootc.testing.registry.messages import Received, Reply, basic, json_reply

_CHALLENGE = 'Bearer realm="{realm}",service="fake.example",scope="repository:{repository}:pull"'


@define
class Bearer:
    """Tokens are asked for."""

    uses: int = 1_000_000
    """requests that a token is good for"""
    login: tuple[str, str] | None = None
    """user and password that a token costs; None: nothing"""
    identity_token: str | None = None
    """what a token costs in a POST"""
    realm: str | None = None
    """where tokens are said to come from; None: from here"""
    challenge: str = _CHALLENGE
    answer: Mapping[str, object] = field(factory=lambda: {"expires_in": 300})
    """what stands beside the token in the answer"""
    key: str = "token"
    """under which the token stands in the answer"""
    given: dict[str, int] = field(factory=dict)
    """tokens, and for how many requests they are good still"""

    def refusal(self, request: Received, base: str, repository: str) -> Reply | None:
        """The challenge to a request without a good token."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.given.get(token, 0) > 0:
            self.given[token] -= 1
            return None
        realm = self.realm or f"{base}/token?from=challenge"
        challenge = self.challenge.format(realm=realm, repository=repository)
        return json_reply(401, {"errors": [{"code": "UNAUTHORIZED"}]}, {"WWW-Authenticate": challenge})

    def issue(self, request: Received) -> Reply:
        """The token server's answer."""
        if request.method == "POST":
            is_right = parse_qs(request.body.decode()).get("refresh_token") == [self.identity_token]
        else:
            wanted = basic(*self.login) if self.login else ""
            is_right = not wanted or request.headers.get("authorization", "") == wanted
        if not is_right:
            return json_reply(401, {})
        token = f"t0ken-of-a-fake-{len(self.given)}"
        self.given[token] = self.uses
        return json_reply(200, {self.key: token, **self.answer})
