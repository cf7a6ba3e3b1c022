"""Running programs: arguments, environment, results and failures; and what a machine says of itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path, PurePosixPath

import pytest

from bootc.durable import DirectoryVolume
from bootc.errors import MissingProgramError, ProgramError
from bootc.machine import Command, Machine, Outcome, end, find_program

PURPOSE = "test things"


def sh(script: str, *arguments: str, codes: frozenset[int] = frozenset({0})) -> Command:
    return Command(("sh", "-c", script, "sh", *arguments), PURPOSE, codes=codes)


def test_a_program_s_output_and_code() -> None:
    outcome = sh("echo out; echo err >&2; exit 3", codes=frozenset({0, 3})).run()

    assert (outcome, outcome.text) == (Outcome(3, b"out\n", b"err\n"), "out")


def test_text_survives_what_is_no_utf_8() -> None:
    assert Outcome(0, b"a\xff\n\n", b"").text == "a�"


@pytest.mark.parametrize("argument", ["a b", "$(id)", "'", '"', "*", "-n", "", "new\nline", "\\"])
def test_arguments_arrive_as_they_are(argument: str) -> None:
    assert sh('printf %s "$1"', argument).run().stdout == argument.encode()


def test_a_failure_shows_command_code_and_the_last_words() -> None:
    with pytest.raises(ProgramError) as caught:
        sh("seq 5 >&2; exit 4", "a b").run()

    assert (caught.value.code, caught.value.output) == (4, "1\n2\n3\n4\n5\n")
    assert caught.value.message == "`sh -c 'seq 5 >&2; exit 4' sh 'a b'` failed with exit code 4: 3 / 4 / 5"


def test_a_failure_without_words_on_standard_error_shows_standard_output() -> None:
    with pytest.raises(ProgramError, match="failed with exit code 1: only here"):
        sh("echo only here; exit 1").run()


def test_a_killed_program_has_a_negative_code() -> None:
    with pytest.raises(ProgramError) as caught:
        sh("kill -9 $$").run()

    assert caught.value.code == -signal.SIGKILL


def test_the_environment_is_clean_but_for_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "LD_PRELOAD": "x",
        "LC_ALL": "tr_TR",
        "https_proxy": "p",
        "NO_PROXY": "n",
        "PATH": "/x",
    }.items():
        monkeypatch.setenv(name, value)
    outcome = Command(("env",), PURPOSE, environment={"EXTRA": "1"}).run()

    assert sorted(outcome.text.splitlines()) == [
        "EXTRA=1",
        "HOME=/root",
        "LC_ALL=C.UTF-8",
        "NO_PROXY=n",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "https_proxy=p",
    ]


def test_standard_input_is_what_was_given_or_empty() -> None:
    assert Command(("cat",), PURPOSE, input=b"data").run().stdout == b"data"
    assert Command(("cat",), PURPOSE).run().stdout == b""


def test_a_program_that_does_not_read_its_input_is_no_failure() -> None:
    assert Command(("true",), PURPOSE, input=bytes(1 << 20)).run().code == 0


def test_much_output_on_both_channels_does_not_block() -> None:
    outcome = sh("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2").run()

    assert (len(outcome.stdout), len(outcome.stderr)) == (300_000, 300_000)


def test_a_program_runs_where_it_is_told(tmp_path: Path) -> None:
    assert Command(("pwd", "-P"), PURPOSE, cwd=tmp_path).run().text == str(tmp_path.resolve())


def test_descriptors_are_passed_only_on_purpose(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        script = f"[ -e /proc/self/fd/{file.fileno()} ] && echo open || echo closed"
        assert sh(script).run().text == "closed"
        assert Command(("sh", "-c", script), PURPOSE, pass_fds=(file.fileno(),)).run().text == "open"


def test_a_program_that_does_not_end_is_ended() -> None:
    with pytest.raises(ProgramError, match=r"no end after 0\.1 seconds"):
        Command(("sleep", "60"), PURPOSE, timeout=0.1).run()


def test_a_missing_program_says_what_it_is_for() -> None:
    with pytest.raises(MissingProgramError) as caught:
        Command(("no-such-program", "x"), PURPOSE).run()

    assert caught.value.message == "program 'no-such-program' not found; it is needed to test things"
    assert find_program("no-such-program") is None
    assert find_program("sh") is not None


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/does/not/exist\n")
    broken.chmod(0o755)

    with pytest.raises(ProgramError, match="could not be started"):
        Command((str(broken),), PURPOSE).run()
    with pytest.raises(ProgramError, match="could not be started"):
        Command(("true",), PURPOSE, cwd=tmp_path / "missing").run()
    with pytest.raises(ProgramError, match="could not be started"):
        Command((str(broken),), PURPOSE).start(stdin=0)


def test_a_program_in_the_background_ends_when_it_is_told() -> None:
    read, write = os.pipe()
    child = Command(("cat",), PURPOSE).start(stdin=read)
    os.close(read)
    assert child.poll() is None
    assert os.getsid(child.pid) == child.pid
    os.close(write)

    assert end(child) == 0


@pytest.mark.parametrize(
    ("script", "code"), [("exec sleep 60", -signal.SIGTERM), ("trap '' TERM; echo >&2; exec sleep 60", -signal.SIGKILL)]
)
def test_a_program_that_does_not_listen_is_killed(script: str, code: int) -> None:
    read, write = os.pipe()
    child = Command(("sh", "-c", f"exec 0</dev/null; {script}"), PURPOSE).start(stdin=read, stderr=write)
    os.close(write)
    if code == -signal.SIGKILL:
        assert os.read(read, 1) == b"\n"

    assert end(child, patience=0.05) == code
    os.close(read)


def test_a_machine_is_booted_if_it_has_a_run_directory(tmp_path: Path) -> None:
    volume, state = DirectoryVolume(tmp_path), PurePosixPath("x")

    assert (Machine(volume, state).is_booted, Machine(volume, state, Path("/run")).is_booted) == (False, True)
    assert Machine(volume, state).root == tmp_path
