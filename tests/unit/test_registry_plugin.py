"""The record of the plugin, and its table in the configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import bootc_registry
import pytest
from bootc_registry.options import RegistryOptions

from bootc.config.tables import Table
from bootc.config.typed import convert
from bootc.durable import DirectoryVolume
from bootc.errors import ConfigError
from bootc.fetcher import Explain, Peek
from bootc.hookspec import Capability, Context
from bootc.machine import Machine


def test_the_record_says_what_the_fetcher_can(tmp_path: Path) -> None:
    (plugin,) = bootc_registry.bootc_fetchers()
    assert plugin.unavailable() is None
    context = Context(Machine(DirectoryVolume(tmp_path), PurePosixPath("state")), lambda event: None, lambda: None)
    fetcher = plugin.open(context, plugin.options())
    assert (Capability.PEEK in plugin.capabilities) == isinstance(fetcher, Peek)
    assert (Capability.EXPLAIN in plugin.capabilities) == isinstance(fetcher, Explain)
    fetcher.close()
    fetcher.close()


def test_offering_imports_no_heavy_library() -> None:
    code = "import sys, bootc_registry; print({'requests', 'urllib3', 'ssl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_options_are_read_from_the_configuration() -> None:
    table = {"insecure": ["h.example:5000"], "authfile": "/a", "podman-credentials": True, "read-timeout": 5.5}
    found = convert(RegistryOptions, Table.of(table, "f.toml"), ("fetchers", "registry"))
    assert found == RegistryOptions(("h.example:5000",), "/a", True, read_timeout=5.5)


@pytest.mark.parametrize(
    ("listed", "authority", "expected"),
    [
        ("h.example", "h.example", True),
        ("h.example", "h.example:5000", True),
        ("h.example:5000", "h.example:5000", True),
        ("h.example:5000", "H.Example:5000", True),
        ("h.example:5000", "h.example", False),
        ("h.example:5000", "h.example:5001", False),
        ("example", "h.example", False),
        ("[::1]", "[::1]:5000", True),
        ("[::1]", "[::1]", True),
    ],
)
def test_a_host_stands_for_all_its_ports(listed: str, authority: str, expected: bool) -> None:
    assert RegistryOptions((listed,)).is_insecure(authority) == expected


@pytest.mark.parametrize(
    "table",
    [{"insecure": "h.example"}, {"connections": 0}, {"retries": -1}, {"read-timeout": 0}, {"backoff": -1}, {"tls": 0}],
)
def test_options_that_make_no_sense_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        convert(RegistryOptions, Table.of(table, "f.toml"), ("fetchers", "registry"))
