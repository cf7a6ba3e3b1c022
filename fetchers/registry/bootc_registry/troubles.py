"""What the libraries below say of connections that fail, in words of our own: theirs quote addresses with secrets."""

from __future__ import annotations

import re
import socket
import ssl
from http.client import HTTPException

from bootc.errors import NetworkError
from bootc_registry.retry import Interruption

_PLAIN_HINT = "plain http is for registries that are marked as insecure, in registries.conf or by [fetchers.registry]"

_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")
"""in the error of the standard library, which has no other sign of a proxy's answer to CONNECT"""
PROXY_HINT = "the proxy is named by HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, as http://[USER:PASSWORD@]HOST:PORT"


def connection_failure(error: Exception, host: str, source: str) -> Interruption | NetworkError:
    """What to raise for a request that got no answer. `host` is HOST[:PORT]."""
    from urllib3.util.ssl_match_hostname import CertificateError

    cause = _root(error)
    if isinstance(cause, ssl.SSLCertVerificationError | CertificateError):
        hint = f"put the authority's certificate into /etc/containers/certs.d/{host}/ as NAME.crt"
        reason = getattr(cause, "verify_message", "") or "it is for another host"
        return NetworkError(source, f"the certificate of {host} is not trusted: {reason}", hint)
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
        return NetworkError(source, f"there is no host {host}", "check the image's name and the network")
    if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
        return NetworkError(source, f"{host} does not speak TLS", _PLAIN_HINT)
    if isinstance(cause, OSError) and (refusal := _TUNNEL.search(str(cause))):
        return _refused_by_proxy(int(refusal[1]), host, source)
    interruption = explained(error)
    if type(error).__name__ == "ProxyError":
        return Interruption(f"the proxy for {host}: {interruption.problem}", PROXY_HINT)
    return Interruption(f"{host}: {interruption.problem}", interruption.hint)


def _refused_by_proxy(status: int, host: str, source: str) -> Interruption | NetworkError:
    if status == 407:
        return NetworkError(source, f"the proxy for {host} wants a login", PROXY_HINT)
    if status >= 500:
        return Interruption(f"the proxy for {host} answered {status}")
    return NetworkError(
        source, f"the proxy for {host} answered {status}", "ask who runs it, or add the host to NO_PROXY"
    )


def explained(error: Exception) -> Interruption:
    """In words of our own: those of the libraries quote addresses, and addresses can hold secrets."""
    cause = _root(error)
    if isinstance(cause, TimeoutError) or "Timeout" in type(error).__name__:
        return Interruption("no answer in time")
    if isinstance(cause, ssl.SSLError):
        # what OpenSSL 3.2 and later say of a server without TLS, and of damage on the way, too
        hint = _PLAIN_HINT if cause.reason == "RECORD_LAYER_FAILURE" else None
        return Interruption(f"TLS failed: {cause.reason or type(cause).__name__}", hint)
    if isinstance(cause, HTTPException):
        return Interruption(f"the answer is not valid HTTP, or was cut ({type(cause).__name__})")
    if isinstance(cause, OSError) and cause.strerror:
        return Interruption(cause.strerror.lower())
    return Interruption("the connection was cut")


def _root(error: BaseException) -> BaseException:
    """What requests and urllib3 have wrapped; they keep it in their arguments, in `reason`, or as the cause."""
    seen: set[int] = set()
    while id(error) not in seen and type(error).__module__.startswith(("requests.", "urllib3.")):
        seen.add(id(error))
        links = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
        error = next((link for link in links if isinstance(link, BaseException)), error)
    return error
