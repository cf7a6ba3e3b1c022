"""The documentation names what there is, and its links lead somewhere."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from bootc.cli.main import COMMANDS
from bootc.hookspec import Hooks
from tests.unit.cli_runs import bootc

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("images/*/README.md")])
HOOKS = [name for name in vars(Hooks) if name.startswith("bootc_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_explained_to_plugin_authors(hook: str) -> None:
    assert f"`{hook}`" in (ROOT / "docs/plugins.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_are_valid(page: Path) -> None:
    for language, text in re.findall(r"```(\w+)\n(.*?)```", page.read_text(), re.DOTALL):
        if language == "python":
            compile(text, str(page), "exec")
        if language == "toml":
            tomllib.loads(text)


def test_every_module_has_its_room() -> None:
    rooms = set(re.findall(r"`(\w+(?:\.py|/))`", (ROOT / "docs/architecture.md").read_text()))
    modules = {path.name for path in ROOT.glob("bootc/*.py") if not path.name.startswith("_")}
    packages = {f"{path.parent.name}/" for path in ROOT.glob("bootc/*/__init__.py")}
    assert (modules | packages) - rooms == set()
    assert {room for room in rooms if not (ROOT / "bootc" / room).exists() and not (ROOT / room).exists()} == set()


def test_the_example_of_a_configuration_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    example = tmp_path / "config.toml"
    example.write_text(text)
    run = bootc("--config", str(example), "config")
    assert (run.code, run.err) == (0, "")


def test_every_key_of_the_configuration_is_explained() -> None:
    pages = "".join(page.read_text() for page in PAGES)
    keys = [item["key"] for item in json.loads(bootc("config", "--json").out)]
    assert "bootc.backend" in keys
    accepted = ("install.bootupd.", "install.ostree.")  # explained as a whole
    explained = {key for key in keys if key.rpartition(".")[2] in pages or key.startswith(accepted)}
    assert set(keys) - explained == set()


def test_commands_in_the_documentation_exist() -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:^    |`)bootc (?:--\S+ \S+ )?([a-z][a-z-]*)", page.read_text(), re.MULTILINE)
    }
    assert {"install", "status", "upgrade", "rollback", "plugins", "config"} <= named
    assert named - set(COMMANDS) - {"internals"} == set()
