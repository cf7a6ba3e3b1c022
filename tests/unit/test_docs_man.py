"""The manual pages in docs/man say what the command line's help says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parents[2] / "docs"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_man", DOCS / "generate_man.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_those_that_the_script_writes() -> None:
    found = {path.name: path.read_text() for path in (DOCS / "man").iterdir()}
    assert found == generator().pages(), "run `python docs/generate_man.py`"


def test_every_command_that_help_shows_has_a_page() -> None:
    names = set(generator().pages())
    assert {"bootc.8", "bootc-upgrade.8", "bootc-install.8", "bootc-install-to-disk.8"} <= names
    assert "bootc-internals.8" not in names
