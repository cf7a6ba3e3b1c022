"""The command as a process: help, exit codes, error lines, and what it imports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bootc import __version__
from bootc.cli.main import COMMANDS, root
from bootc.status import host_document, to_json
from tests.unit.cli_runs import Run, add_distribution, bootc

HEAVY = {"requests", "urllib3", "gi", "rich", "yaml", "zstandard", "isal", "ssl", "asyncio"}


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str) -> None:
    assert bootc(option) == Run(0, f"bootc {__version__}\n", "")


@pytest.mark.parametrize("words", [("-h",), ("--help",), ("upgrade", "-h"), ("install", "to-disk", "--help")])
def test_help_works_without_rights(words: tuple[str, ...]) -> None:
    run = bootc(*words)
    assert (run.code, run.err) == (0, "")
    assert run.out.startswith("Usage: bootc ")


def test_help_says_of_each_command_what_its_own_help_begins_with() -> None:
    with root.make_context("bootc", [], resilient_parsing=True) as context:
        for name, lazy in COMMANDS.items():
            command = root.get_command(context, name)
            assert command is not None
            assert lazy.alias_of or (command.help or "").partition("\n")[0] == lazy.summary


USAGE = {
    "no command": ((), "Missing command (see `bootc --help`)"),
    "unknown command": (("frobnicate",), "No such command 'frobnicate' (see `bootc --help`)"),
    "missing argument": (("switch",), "Missing argument 'TARGET' (see `bootc switch --help`)"),
    "missing choice": (
        ("completion",),
        "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish (see `bootc completion --help`)",
    ),
    "check and apply": (
        ("upgrade", "--check", "--apply"),
        "--check cannot be used with --apply (see `bootc upgrade --help`)",
    ),
    "check and download-only": (
        ("update", "--check", "--download-only"),
        "--check cannot be used with --download-only (see `bootc upgrade --help`)",
    ),
    "check and from-downloaded": (
        ("upgrade", "--check", "--from-downloaded"),
        "--check cannot be used with --from-downloaded (see `bootc upgrade --help`)",
    ),
    "download-only and apply": (
        ("upgrade", "--download-only", "--apply"),
        "--download-only cannot be used with --apply (see `bootc upgrade --help`)",
    ),
    "download-only and from-downloaded": (
        ("upgrade", "--from-downloaded", "--download-only"),
        "--download-only cannot be used with --from-downloaded (see `bootc upgrade --help`)",
    ),
    "from-downloaded and allow-downgrade": (
        ("upgrade", "--from-downloaded", "--allow-downgrade"),
        "--from-downloaded cannot be used with --allow-downgrade (see `bootc upgrade --help`)",
    ),
    "from-downloaded and an empty tag": (
        ("upgrade", "--from-downloaded", "--tag", ""),
        "--from-downloaded cannot be used with --tag (see `bootc upgrade --help`)",
    ),
    "download-only to a sysroot at rest": (
        ("--sysroot", "/srv", "upgrade", "--download-only"),
        "--download-only is for the running system; with --sysroot an update is the default at once (see its --help)",
    ),
    "apply to a sysroot at rest": (
        ("--sysroot", "/srv", "rollback", "--apply"),
        "--apply reboots the running system; it cannot be used with --sysroot (see its --help)",
    ),
    "standard error as progress": (
        ("upgrade", "--progress-fd", "2"),
        "Invalid value for '--progress-fd': Cannot use fd 2 for progress JSON (see `bootc upgrade --help`)",
    ),
    "a root size without sense": (
        ("install", "to-disk", "--root-size", "20 elephants", "/dev/x"),
        "Invalid value for '--root-size': '20 elephants' is no size; write a whole number and M, G or T"
        " (see `bootc install to-disk --help`)",
    ),
    "a kernel argument that is no text": (
        ("install", "to-disk", "--karg", "\udcff", "/dev/x"),
        "Invalid value for '--karg': '\\udcff' has characters that cannot stand in a kernel argument"
        " (see `bootc install to-disk --help`)",
    ),
    "a root that is two lines": (
        ("install", "to-filesystem", "--root-mount-spec", "LABEL=x\ninitrd /y", "/mnt"),
        "Invalid value for '--root-mount-spec': 'LABEL=x\\ninitrd /y' has characters that cannot stand in a kernel"
        " argument (see `bootc install to-filesystem --help`)",
    ),
    "a stateroot that is a path": (
        ("install", "to-disk", "--stateroot", "../x", "/dev/x"),
        "Invalid value for '--stateroot': '../x' is no name for a stateroot; use letters, digits and _ . + -"
        " (see `bootc install to-disk --help`)",
    ),
    "sysroot and install": (
        ("--sysroot", "/srv", "install", "to-filesystem", "--source-imgref", "docker://x", "/mnt"),
        "--sysroot is for installed systems (name the target as the argument)",
    ),
}


@pytest.mark.parametrize(("words", "line"), USAGE.values(), ids=USAGE)
def test_wrong_usage_ends_with_2(words: tuple[str, ...], line: str) -> None:
    assert bootc(*words) == Run(2, "", f"error: {line}\n")


def test_an_unknown_option_is_wrong_usage() -> None:
    run = bootc("status", "--frobnicate")
    assert (run.code, run.out, run.err.count("\n")) == (2, "", 1)
    assert run.err.startswith("error: No such option")
    assert run.err.endswith(" (see `bootc status --help`)\n")


FAILURES = {
    "an unknown transport": (
        ("install", "to-disk", "--source-imgref", "ftp:x", "/dev/x"),
        "invalid image reference 'ftp:x': unknown transport 'ftp' (known: registry, oci, oci-archive, docker-archive,"
        " docker-daemon, containers-storage, dir)",
    ),
    "control characters in a name": (
        ("switch", "reg.example/\x1b[31mos"),
        "invalid image reference 'reg.example/\\x1b[31mos': contains characters that cannot be part of a name"
        " (check how it is written)",
    ),
    "a transport that is written twice": (
        ("switch", "docker://reg.example/os:1"),
        "invalid image reference 'docker://reg.example/os:1': not the name of an image in a registry"
        " (write reg.example/os:1)",
    ),
    "a transport in place of its option": (
        ("install", "to-disk", "--source-imgref", "oci:x", "--target-imgref", "oci:/media/os:1", "/dev/x"),
        "invalid image reference 'oci:/media/os:1': not the name of an image in a registry"
        " (write HOST/PATH:TAG, or use --target-transport for another transport)",
    ),
    "ostree's spelling": (
        ("switch", "ostree-unverified-registry:reg.example:5000/os"),
        "invalid image reference 'ostree-unverified-registry:reg.example:5000/os': not the name of an image in a"
        " registry (write HOST/PATH:TAG, or use --transport for another transport)",
    ),
    "an empty source": (
        ("install", "to-disk", "--source-imgref", "", "/dev/x"),
        "invalid image reference '': no transport (write docker://NAME for an image in a registry)",
    ),
    "an empty target": (
        ("install", "to-disk", "--source-imgref", "oci:x", "--target-imgref", "", "/dev/x"),
        "invalid image reference '': empty name (check how it is written)",
    ),
    "an unknown document version": (("status", "--format-version", "2"), "Unsupported format version: 2"),
    "a sysroot that is not there": (
        ("--sysroot", "/nonexistent", "status"),
        "/nonexistent: no such directory (check the name, or choose another target)",
    ),
    "keys that are not there": (
        ("install", "to-disk", "--source-imgref", "docker://x", "--root-ssh-authorized-keys", "/nonexistent", "/dev/x"),
        "/nonexistent: No such file or directory (check this path; `dmesg` names errors of the disk)",
    ),
    "a configuration that is not there": (
        ("--config", "/nonexistent.toml", "config"),
        "/nonexistent.toml: No such file or directory (correct this, then try again)",
    ),
}


@pytest.mark.parametrize(("words", "line"), FAILURES.values(), ids=FAILURES)
def test_failures_end_with_1_and_one_line(words: tuple[str, ...], line: str) -> None:
    assert bootc(*words) == Run(1, "", f"error: {line}\n")


def test_changing_commands_want_a_system_of_ours() -> None:
    run = bootc("upgrade")
    assert (run.code, run.out, run.err.count("\n")) == (1, "", 1)
    assert run.err.startswith("error: ")


def test_the_traceback_comes_on_request() -> None:
    run = bootc("status", "--format-version", "2", env={"BOOTC_DEBUG": "1"})
    assert run.code == 1
    assert run.err.startswith("Traceback (most recent call last):\n")
    assert run.err.endswith("\nerror: Unsupported format version: 2\n")


# ---------------------------------------------------------------- status where nothing is installed


def test_status_of_a_machine_that_is_none_of_ours(tmp_path: Path) -> None:
    empty = host_document(())
    assert bootc("status", "--json") == Run(0, to_json(empty), "")
    assert bootc("status", "--format", "json", "--format-version", "0") == Run(0, to_json(empty), "")
    assert bootc("status", "--format=humanreadable") == Run(0, "System is not deployed via bootc.\n", "")
    run = bootc("status")
    assert (run.code, yaml.safe_load(run.out)) == (0, empty)
    assert bootc("--sysroot", str(tmp_path), "status", "--json") == Run(0, to_json(empty), "")


# ---------------------------------------------------------------- the ends of pipes


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "bootc", "--help"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("word", ["status", "--help", "--version"])
def test_a_full_disk_below_standard_output_is_an_error(word: str) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "bootc", word]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "error: cannot write to standard output: No space left on device\n")


CLOSED = {
    ">&-": (1, "error: cannot write to standard output: Bad file descriptor\n"),
    "<&-": (0, ""),
    "2>&-": (0, ""),
    "<&- >&- 2>&-": (1, ""),
}


@pytest.mark.parametrize("word", ["status", "--help"])
@pytest.mark.parametrize(("streams", "ended"), CLOSED.items(), ids=CLOSED)
def test_streams_that_are_closed(word: str, streams: str, ended: tuple[int, str]) -> None:
    command = ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "bootc", word]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == ended
    assert bool(done.stdout) is (done.returncode == 0)


def test_wrong_usage_without_standard_error() -> None:
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "bootc", "frobnicate"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 2


def test_output_that_the_locale_cannot_encode_is_escaped() -> None:
    run = bootc("frobnicate\u25cf", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert run == Run(2, "", "error: No such command 'frobnicate\\u25cf' (see `bootc --help`)\n")


def test_interrupted_from_the_keyboard(tmp_path: Path) -> None:
    code = """
import click, os, signal
from bootc.hookspec import CommandOffer, hookimpl

@click.command()
def wait():
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()

@hookimpl
def bootc_commands():
    return [CommandOffer("wait", "Wait.", lambda: wait)]
"""
    add_distribution(tmp_path, "waiter", "waiter", code)
    run = bootc("wait", env={"PYTHONPATH": str(tmp_path)})
    hint = "run the command again; what was fetched is kept for it"
    assert run == Run(1, "", f"error: cancelled: interrupted ({hint})\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ---------------------------------------------------------------- plugins


PLUGIN = """
import click
from bootc.hookspec import CommandOffer, hookimpl

@click.command()
@click.option("--loud", is_flag=True)
@click.pass_obj
def greet(options, loud):
    "Say hello."
    if loud:
        raise KeyError("voice")
    click.echo(f"hello {options.backend}")

@hookimpl
def bootc_commands():
    return [CommandOffer("greet", "Say hello.", lambda: greet), CommandOffer("nothing", "No command.", lambda: 3),
            CommandOffer("status", "Never asked for.", lambda: greet)]
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with a plugin that adds commands and one that fails to load."""
    folder = tmp_path_factory.mktemp("plugins")
    add_distribution(folder, "greeter", "greeter", PLUGIN)
    add_distribution(folder, "broken", "broken", "raise RuntimeError('out of order')\n")
    return {"PYTHONPATH": str(folder)}


def test_plugins_add_commands(plugins: dict[str, str]) -> None:
    assert bootc("--backend", "x", "greet", env=plugins) == Run(0, "hello x\n", "")
    assert bootc("greet", "--help", env=plugins).out.startswith("Usage: bootc greet ")


def test_a_plugin_cannot_replace_a_command(plugins: dict[str, str]) -> None:
    assert bootc("status", "--format", "humanreadable", env=plugins).out == "System is not deployed via bootc.\n"


def test_a_defect_of_a_plugin_is_told_as_one(plugins: dict[str, str]) -> None:
    run = bootc("greet", "--loud", env=plugins)
    assert run.code == 1
    assert run.err == (
        "error: internal error: KeyError: 'voice'"
        " (this is a defect of bootc or of a plugin; BOOTC_DEBUG=1 shows where, please report that)\n"
    )


def test_a_command_that_is_none(plugins: dict[str, str]) -> None:
    run = bootc("nothing", env=plugins)
    assert (run.code, run.out) == (1, "")
    assert run.err.startswith("error: plugin nothing: its command is a int, not a click.Command")


def test_plugins_lists_what_is_there_and_what_failed(plugins: dict[str, str]) -> None:
    lines = bootc("plugins", env=plugins).out.splitlines()
    assert re.fullmatch(
        r"command +greet +Say hello\. \(greeter 1\.0\)", lines[[" greet " in li for li in lines].index(True)]
    )
    assert [line for line in lines if line.startswith("failed: ")] == [
        "failed: plugin broken (broken 1.0): RuntimeError: out of order"
    ]
    document = json.loads(bootc("plugins", "--json", env=plugins).out)
    (greet,) = (item for item in document["plugins"] if item["name"] == "greet")
    assert greet == {
        "kind": "command", "name": "greet", "summary": "Say hello.", "distribution": "greeter", "version": "1.0",
        "capabilities": [], "unavailable": None,
    }  # fmt: skip
    assert [item["name"] for item in document["failures"]] == ["broken"]


@pytest.mark.parametrize(
    ("text", "capabilities", "said"),
    [
        ("slots = 2", [], ""),
        ("slots = 3", ["pin", "spare"], ""),
        ("slots = ", [], "warning: "),
    ],
    ids=["two slots", "three slots", "no configuration"],
)
def test_plugins_shows_what_can_be_done_as_configured(
    tmp_path: Path, text: str, capabilities: list[str], said: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[backends.dirimage]\n{text}\n")
    run = bootc("--config", str(file), "plugins", "--json")
    found = {item["name"]: item for item in json.loads(run.out)["plugins"] if item["kind"] == "backend"}
    assert found["dirimage"]["capabilities"] == capabilities
    assert run.err.startswith(said)
    assert bool(run.err) == bool(said)


def test_config_tells_where_each_value_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[bootc]\nparallel = 5\nbackend = 'ostree'\n")
    values = json.loads(bootc("--config", str(file), "--bootloader", "none", "config", "--json").out)
    found = {item["key"]: (item["value"], item["source"]) for item in values}
    assert found["bootc.parallel"] == (5, str(file))
    assert found["bootc.bootloader"] == ("none", "command line")
    assert found["bootc.fetcher"] == (None, "default")
    lines = bootc("--config", str(file), "config").out.splitlines()
    assert f"bootc.parallel = 5  # {file}" in lines
    assert "bootc.fetcher = (not set)  # default" in lines


def test_print_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/bootc/install"
    folder.mkdir(parents=True)
    (folder / "10.toml").write_text("[install]\nkargs = ['nosmt']\n[install.filesystem.root]\ntype = 'xfs'\n")
    shown = json.loads(bootc("--sysroot", str(tmp_path), "install", "print-configuration").out)
    assert shown["filesystem"] == {"root": {"type": "xfs"}}
    assert shown["root-mount-spec"] is None
    assert "kargs" not in shown
    everything = json.loads(bootc("--sysroot", str(tmp_path), "install", "print-configuration", "--all").out)
    assert everything == {**shown, "kargs": ["nosmt"], "karg-deletes": []}


# ---------------------------------------------------------------- completion


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("bootc up", ["upgrade"]),
        ("bootc upgrade --down", ["--download-only"]),
        ("bootc install to-", ["to-disk", "to-filesystem"]),
        ("bootc status --format h", ["humanreadable"]),
    ],
)
def test_completions(words: str, expected: list[str]) -> None:
    count = str(words.count(" "))
    run = bootc(env={"_BOOTC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count})
    assert [line.partition(",")[2] for line in run.out.splitlines()] == expected


def test_bash_can_read_the_completion_script() -> None:
    script = bootc("completion", "bash")
    assert script.code == 0
    check = 'eval "$(cat)"; complete -p bootc'
    done = subprocess.run(
        ["bash", "-c", check], input=script.out, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.endswith(" bootc\n")


# ---------------------------------------------------------------- start-up


def imported(*words: str) -> set[str]:
    """All modules that a run imports, beyond those that Python itself starts with."""
    code = (
        "import sys; before = set(sys.modules); from bootc.cli.main import main; code = main();"
        "print(*(set(sys.modules) - before), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("words", [("--help",), ("status", "--json"), ("status", "--format", "humanreadable")])
def test_nothing_heavy_is_imported(words: tuple[str, ...]) -> None:
    assert HEAVY & imported(*words) == set()


def test_help_imports_no_command() -> None:
    found = imported("--help")
    assert not {name for name in found if name.startswith("bootc.cli.commands.")}
    assert not {"pluggy", "bootc.session", "bootc.plugins", "bootc.transaction"} & found


def test_one_command_imports_no_other() -> None:
    found = {name for name in imported("status", "--json") if name.startswith("bootc.cli.commands.")}
    assert found == {"bootc.cli.commands.status"}


def test_a_change_imports_nothing_of_plugins_that_are_not_chosen_nor_of_fetching_layers() -> None:
    program = "import sys, bootc.session; from bootc.plugins import Plugins; Plugins.load(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    found = set(done.stdout.split())
    assert {"bootc_ostree", "bootc_composefs", "bootc_dirimage", "bootc_registry", "bootc_skopeo"} <= found
    assert not {"bootc.roots.deployer", "bootc.etc_merge", "bootc.layers", "bootc.streams"} & found
    assert not {"bootc.partial.local", "bootc.partial.pulls", "bootc.partial.predicting"} & found
    assert not {"bootc_containers.auth", "bootc_containers.registries", "bootc_skopeo.proxy"} & found
