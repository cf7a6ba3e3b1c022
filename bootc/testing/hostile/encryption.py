"""Registries with TLS, and with certificates that are not good for them."""

from __future__ import annotations

from bootc.errors import NetworkError
from bootc.testing.hostile.case import RIGHT, error, secure
from bootc.testing.hostile.knobs import plain_login, private, set_by

_LOST = error(NetworkError)

CASES = (
    secure("certificate: good", RIGHT),
    secure("certificate: good, and a login", RIGHT, set_by(plain_login)),
    secure("certificate: over since yesterday", _LOST, private(), certificate="expired"),
    secure("certificate: of another host", _LOST, private(), certificate="foreign"),
    secure("certificate: vouches for itself", _LOST, private(), certificate="self-signed"),
    secure("certificate: of an authority that nobody trusts", _LOST, private(), certificate="untrusted"),
    secure("no TLS where it is wanted", _LOST, set_by(plain_login), certificate="none"),
)
