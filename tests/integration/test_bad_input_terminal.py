"""Images whose texts steer terminals: nothing of it reaches a terminal raw, be it by way of another program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.integration.failing import World, fails, temporary
from tests.integration.sysroots import VERSION, images, os_layers
from tests.ostree_images import Tar
from tests.unit.cli_runs import bootc

pytestmark = pytest.mark.root

EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e"
"""a title, an empty screen, the line's beginning, colour by a C1 control, and text from right to left"""
SHOWN = "\\x1b]0;owned\\x07\\x1b[2J\\r\\x9b31m\\u202e"
RAW = ("\x1b]0;owned", "\x1b[2J", "\x9b", "\u202e", "\x07")


@pytest.fixture
def evil(world: World) -> str:
    """A tag whose version, creation, labels, files and system name steer terminals."""
    release = f'ID=x\nPRETTY_NAME="Evil {EVIL}"\n'.encode()
    layers = [*os_layers("evil"), Tar().add("usr/lib/os-release", data=release).data]
    labels = {VERSION: f"1{EVIL}", f"org.example.{EVIL}": EVIL, "containers.bootc": f"1{EVIL}"}
    world.layout.add("evil", layers, labels=labels)
    return "evil"


def on_terminal(*words: str) -> str:
    """All that a terminal is sent, by both outputs."""
    ours, theirs = os.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(ours, 1 << 16):
                shown.append(data)
        except OSError:  # the other side is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "BOOTC_DEBUG")}
    command = [sys.executable, "-m", "bootc", *words]
    subprocess.run(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**env, "TERM": "xterm"}, timeout=120, check=True
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    return b"".join(shown).decode(errors="surrogateescape")


def test_nothing_raw_reaches_a_terminal(world: World, root: Path, evil: str) -> None:
    at = ("--sysroot", str(root))
    switch = ("--verbose", *at, "switch", "--transport", "oci", world.layout.name(evil))
    shown = [on_terminal(*switch), on_terminal(*at, "status"), on_terminal(*at, "status", "-v")]
    world.layout.add(evil, [*os_layers("evil"), Tar().add("usr/lib/more").data], labels={VERSION: f"2{EVIL}"})
    shown.append(on_terminal(*at, "upgrade", "--check"))
    assert [raw for raw in RAW for text in shown if raw in text] == []
    assert [f"{number}{SHOWN}" in text for number, text in zip((1, 1, 1, 2), shown, strict=True)] == [True] * 4


def test_nothing_raw_reaches_pipes_and_programs(world: World, root: Path, evil: str) -> None:
    at = ("--sysroot", str(root))
    reader, writer = os.pipe()
    switch = ("switch", "--transport", "oci", world.layout.name(evil), "--progress-fd", str(writer))
    run = bootc(*at, *switch, pass_fds=(writer,))
    os.close(writer)
    with open(reader, newline="\n") as lines:
        progress = lines.read()
    assert run.code == 0, run.err
    assert "Unknown containers.bootc value" in run.err
    texts = [run.out, run.err, progress]
    texts += [bootc(*at, "status", *form).out for form in ((), ("--json",), ("--format", "humanreadable"))]
    assert [char for text in texts for char in text if not (char.isprintable() or char == "\n")] == []
    assert (
        images(root)[0]
        == json.loads(bootc(*at, "status", "--json").out)["status"]["otherDeployments"][0]["image"]["version"]
    )


@pytest.mark.parametrize("name", [f"os{EVIL}", f"registry.example/os:{EVIL}", f"registry.example/os@sha256:{EVIL}"])
def test_a_name_that_steers_terminals(world: World, root: Path, name: str) -> None:
    line = fails(root.parent, "--sysroot", str(root), "switch", name, root=root)
    assert line.startswith("invalid image reference "), line


def test_a_layout_whose_tags_steer_terminals(world: World, root: Path, tmp_path: Path) -> None:
    """The names that are there are told to who asks for another one."""
    index = json.loads((world.layout.folder / "index.json").read_text())
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = f"tag{EVIL}"
    folder = temporary(tmp_path).parent / "evil"
    subprocess.run(["cp", "-r", world.layout.folder, folder], check=True)
    (folder / "index.json").write_text(json.dumps(index))
    line = fails(root.parent, "--sysroot", str(root), "switch", "--transport", "oci", f"{folder}:other", root=root)
    assert f"tag{SHOWN}" in line
