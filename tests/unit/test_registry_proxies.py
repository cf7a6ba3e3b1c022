"""What NO_PROXY excepts, by the words that podman and curl understand."""

from __future__ import annotations

import pytest
from bootc_registry.proxies import is_excepted, proxies_for
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("excepted", "host", "port", "expected"),
    [
        ("", "h.example", 443, False),
        ("*", "h.example", 443, True),
        ("h.example", "h.example", 443, True),
        ("H.Example", "h.example", 443, True),
        ("example", "h.example", 443, True),
        (".example", "h.example", 443, True),
        ("*.example", "h.example", 443, True),
        (".example", "example", 443, True),
        ("ample", "h.example", 443, False),
        ("h.example:443", "h.example", 443, True),
        ("h.example:5000", "h.example", 443, False),
        ("other.example, h.example", "h.example", 443, True),
        ("other.example h.example", "h.example", 443, True),
        ("10.1.2.3", "10.1.2.3", 5000, True),
        ("10.1.2.3:5000", "10.1.2.3", 5000, True),
        ("10.1.2.3:5001", "10.1.2.3", 5000, False),
        ("10.0.0.0/8", "10.1.2.3", 5000, True),
        ("10.0.0.0/8", "11.1.2.3", 5000, False),
        ("10.0.0.0/8", "h.example", 5000, False),
        ("2.3", "10.1.2.3", 5000, False),
        ("::1", "::1", 5000, True),
        ("[::1]", "::1", 5000, True),
        ("[::1]:5000", "::1", 5000, True),
        ("[::1]:5001", "::1", 5000, False),
        ("fd00::/8", "fd12::1", 5000, True),
        ("fd00::/8", "10.1.2.3", 5000, False),
        ("[::1", "::1", 5000, False),
        (".", "h.example", 443, False),
        ("h.example:x", "h.example", 443, False),
    ],
)
def test_what_is_excepted(excepted: str, host: str, port: int, expected: bool) -> None:
    assert is_excepted(host, port, excepted) == expected


@given(st.text(), st.sampled_from(["h.example", "10.1.2.3", "::1", ""]))
def test_no_text_breaks_the_reader(excepted: str, host: str) -> None:
    is_excepted(host, 443, excepted)


def test_schemes_have_proxies_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxies_for("https://h.example/v2/") == {}
    monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
    monkeypatch.setenv("http_proxy", "http://two:2")
    monkeypatch.setenv("NO_PROXY", "h.example:443 [::1]:80")
    assert proxies_for("https://other.example/v2/") == {"https": "http://one:1", "http": "http://two:2"}
    assert proxies_for("https://h.example/v2/") == proxies_for("http://[::1]/") == {}
    assert proxies_for("https://h.example:5000/v2/") != {}
