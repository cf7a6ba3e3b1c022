"""What the skopeo plugin offers, and that offering costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bootc_skopeo
from bootc_skopeo.fetcher import SkopeoFetcher
from bootc_skopeo.options import Options

from bootc.hookspec import Capability
from bootc.image import TRANSPORTS
from tests.skopeo_images import context


def test_one_record_is_offered(tmp_path: Path) -> None:
    (record,) = bootc_skopeo.bootc_fetchers()
    assert (record.name, record.transports, record.capabilities) == (
        "skopeo",
        frozenset(TRANSPORTS),
        frozenset({Capability.EXPLAIN}),
    )
    assert record.unavailable() is None
    assert record.options is Options
    opened = record.open(context(tmp_path), Options())
    assert isinstance(opened, SkopeoFetcher)
    opened.close()


def test_offering_imports_nothing_heavy() -> None:
    program = "import bootc_skopeo, sys; bootc_skopeo.bootc_fetchers(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"bootc_skopeo.fetcher", "requests", "gi", "yaml", "ssl"} & set(done.stdout.split()) == set()
