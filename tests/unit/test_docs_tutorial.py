"""The tutorial shows the files of the example, all of them, to the letter."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE = DOCS / "examples/bootc-btrfs"


def test_the_tutorial_shows_the_example_to_the_letter() -> None:
    page = (DOCS / "tutorial-backend.md").read_text()
    shown = dict(re.findall(r"^`([^`\n]+)`\n\n```\w+\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    files = (path for path in EXAMPLE.rglob("*") if path.suffix in (".py", ".toml"))
    assert shown == {str(path.relative_to(EXAMPLE)): path.read_text() for path in files}
