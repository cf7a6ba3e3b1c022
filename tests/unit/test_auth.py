"""Credentials for registries: where they are read, and what is taken from there."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from bootc_containers import auth
from bootc_containers.auth import CredentialSources, find_authfile
from bootc_containers.credentials import Credentials

from bootc import machine
from bootc.errors import AuthenticationError, ConfigError


def _entry(user: str, password: str = "secret") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def _write(path: Path, **entries: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": entries}))
    return path


def _user(sources: CredentialSources, repository: str = "h.example/a/b") -> str | None:
    found = sources.lookup(repository)
    return found.username if found else None


# ---------------------------------------------------------------- which file


PERSONAL = ("run/containers/{uid}/auth.json", "root/.config/containers/auth.json", "root/.docker/config.json")


def test_the_first_system_file_counts_alone(tmp_path: Path) -> None:
    sources = CredentialSources(root=tmp_path, environment={}, podman=True)
    for name in PERSONAL:
        _write(tmp_path / name.format(uid=os.getuid()), **{"h.example": _entry("personal")})
    for name in reversed(auth.SYSTEM_FILES):
        path = _write(tmp_path / name, **{"h.example": _entry(name)})
        assert sources.files() == (path,)
        assert find_authfile(root=tmp_path, podman=True, environment={}) == path
        assert _user(sources) == name
    _write(tmp_path / auth.SYSTEM_FILES[0], **{"other.example": _entry("other")})
    assert _user(sources) is None


def test_personal_files_are_read_only_where_asked_for(tmp_path: Path) -> None:
    paths = [_write(tmp_path / name.format(uid=os.getuid()), **{"h.example": _entry(name)}) for name in PERSONAL]
    assert CredentialSources(root=tmp_path, environment={}).files() == ()
    sources = CredentialSources(root=tmp_path, environment={}, podman=True)
    assert sources.files() == tuple(paths)
    for path, name in zip(paths, PERSONAL, strict=True):
        assert _user(sources) == name
        path.unlink()
    assert _user(sources) is None


def test_personal_files_move_with_the_environment(tmp_path: Path) -> None:
    environment = {
        "HOME": "/home/anna",
        "XDG_RUNTIME_DIR": "/run/user/1",
        "XDG_CONFIG_HOME": "/c",
        "DOCKER_CONFIG": "/d",
    }
    names = ("run/user/1/containers/auth.json", "c/containers/auth.json", "d/config.json", "home/anna/.dockercfg")
    paths = tuple(_write(tmp_path / name) for name in names)
    assert CredentialSources(root=tmp_path, environment=environment, podman=True).files() == paths


def test_an_explicit_file_counts_alone(tmp_path: Path) -> None:
    _write(tmp_path / auth.SYSTEM_FILES[0], **{"h.example": _entry("system")})
    named = _write(tmp_path / "named.json", **{"h.example": _entry("named")})
    variable = _write(tmp_path / "variable.json", **{"h.example": _entry("variable")})
    environment = {"REGISTRY_AUTH_FILE": str(variable)}
    assert _user(CredentialSources(named, root=tmp_path, environment=environment)) == "named"
    assert _user(CredentialSources(root=tmp_path, environment=environment)) == "variable"
    assert _user(CredentialSources(root=tmp_path, environment={"REGISTRY_AUTH_FILE": ""})) == "system"


def test_an_explicit_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        find_authfile(tmp_path / "none", root=tmp_path, environment={})


def test_without_any_file_there_are_no_credentials(tmp_path: Path) -> None:
    assert find_authfile(root=tmp_path, environment={}) is None
    assert CredentialSources(root=tmp_path, environment={}).lookup("h.example/a") is None


def test_the_old_file_of_docker_holds_the_table_itself(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/.dockercfg").write_text(json.dumps({"https://h.example/v1/": _entry("old")}))
    assert _user(CredentialSources(root=tmp_path, environment={}, podman=True)) == "old"


# ---------------------------------------------------------------- which entry


def _lookup(tmp_path: Path, repository: str, entries: dict[str, object]) -> Credentials | None:
    return CredentialSources(_write(tmp_path / "auth.json", **entries)).lookup(repository)


@pytest.mark.parametrize(
    ("repository", "keys", "expected"),
    [
        ("h.example/a/b", ["h.example", "h.example/a", "h.example/a/b"], "h.example/a/b"),
        ("h.example/a/c", ["h.example", "h.example/a", "h.example/a/b"], "h.example/a"),
        ("h.example/ab", ["h.example/a", "h.example"], "h.example"),
        ("h.example/ab", ["h.example/a"], None),
        ("h.example/a", ["h.example:5000"], None),
        ("h.example:5000/a", ["h.example"], None),
        ("h.example:5000/a", ["http://h.example:5000/v2/"], "http://h.example:5000/v2/"),
        ("h.example/a", ["https://h.example/v1/"], "https://h.example/v1/"),
        ("h.example/a", ["https://h.example"], "https://h.example"),
        ("h.example/a", ["https://h.example", "h.example"], "h.example"),
        ("h.example/a", ["evil.example/h.example"], None),
        ("docker.io/library/debian", ["https://index.docker.io/v1/"], "https://index.docker.io/v1/"),
        ("docker.io/library/debian", ["registry-1.docker.io"], "registry-1.docker.io"),
        ("docker.io/library/debian", ["index.docker.io", "docker.io/library"], "docker.io/library"),
    ],
)
def test_the_longest_name_decides(tmp_path: Path, repository: str, keys: list[str], expected: str | None) -> None:
    found = _lookup(tmp_path, repository, {key: _entry(key.replace(":", "|")) for key in keys})
    assert (found.username.replace("|", ":") if found else None) == expected


def test_an_empty_entry_ends_the_search_in_its_file(tmp_path: Path) -> None:
    entries: dict[str, object] = {"h.example/a": {}, "h.example": _entry("host")}
    assert _lookup(tmp_path, "h.example/a", entries) is None
    assert _lookup(tmp_path, "h.example/b", entries) == Credentials("host", "secret")
    _write(tmp_path / "config/containers/auth.json", **entries)
    _write(tmp_path / "docker/config.json", **{"h.example": _entry("docker")})
    environment = {"XDG_CONFIG_HOME": "/config", "DOCKER_CONFIG": "/docker", "XDG_RUNTIME_DIR": "/run"}
    sources = CredentialSources(root=tmp_path, podman=True, environment=environment)
    assert sources.lookup("h.example/a") == Credentials("docker", "secret")


@pytest.mark.parametrize("text", ['{"auths": null, "credHelpers": null}', '{"auths": {"h.example": null}}', "{}"])
def test_what_is_null_says_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "auth.json"
    path.write_text(text)
    assert CredentialSources(path).lookup("h.example/a") is None


def test_passwords_hold_colons_and_lose_padding(tmp_path: Path) -> None:
    assert _lookup(tmp_path, "h.example/a", {"h.example": _entry("anna", "a:b\0\0")}) == Credentials("anna", "a:b")


def test_an_identity_token_is_taken(tmp_path: Path) -> None:
    both = {**_entry("anna", ""), "identitytoken": "token"}
    assert _lookup(tmp_path, "h.example/a", {"h.example": both}) == Credentials("anna", "", "token")
    alone = _lookup(tmp_path, "h.example/a", {"h.example": {"identitytoken": "token"}})
    assert alone == Credentials(identity_token="token")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"auths": []}',
        '{"auths": {"h.example": "x"}}',
        '{"auths": {"h.example": {"auth": 7}}}',
        '{"auths": {"h.example": {"auth": "***"}}}',
        '{"auths": {"h.example": {"auth": "bm9jb2xvbg=="}}}',
        '{"auths": {"h.example": {"auth": "//8="}}}',
        '{"auths": {"h.example": {"identitytoken": ["x"]}}}',
        '{"auths": {}, "auths": {}}',
        '{"credHelpers": {"h.example": "../evil"}}',
        '{"credHelpers": {"h.example": 7}}',
        '{"credHelpers": "x"}',
    ],
)
def test_a_file_that_is_not_valid_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "auth.json").write_text(text)
    with pytest.raises(ConfigError) as caught:
        CredentialSources(tmp_path / "auth.json").lookup("h.example/a")
    assert "bm9jb2xvbg" not in str(caught.value)


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text(" " * (5 << 20))
    with pytest.raises(ConfigError, match="larger"):
        CredentialSources(tmp_path / "auth.json").lookup("h.example/a")


def test_credentials_are_never_printed() -> None:
    credentials = Credentials("anna", "hunter2", "sesame")
    shown = f"{credentials} {credentials!r} {[credentials]}"
    assert not any(secret in shown for secret in ("anna", "hunter2", "sesame"))


# ---------------------------------------------------------------- credential helpers


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper on PATH that says what the file `answer` beside it holds."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "docker-credential-fake"
    program.write_text(f'#!/bin/sh\ntest "$1" = get || exit 9\ncat >{programs}/asked\n. {programs}/answer\n')
    program.chmod(0o755)
    monkeypatch.setitem(machine._ENVIRONMENT, "PATH", f"{programs}:/usr/bin:/bin")
    return programs


def _ask(folder: Path, answer: str) -> Credentials | None:
    (folder / "answer").write_text(answer)
    authfile = folder / "auth.json"
    authfile.write_text(json.dumps({"auths": {"h.example": _entry("file")}, "credHelpers": {"h.example": "fake"}}))
    return CredentialSources(authfile).lookup("h.example/a/b")


def test_a_helper_is_asked_for_its_host(helper: Path) -> None:
    answer = """echo '{"ServerURL": "h.example", "Username": "anna", "Secret": "s"}'"""
    assert _ask(helper, answer) == Credentials("anna", "s")
    assert (helper / "asked").read_text() == "h.example"


def test_a_helper_can_give_an_identity_token(helper: Path) -> None:
    answer = """echo '{"Username": "<token>", "Secret": "s"}'"""
    assert _ask(helper, answer) == Credentials(identity_token="s")


def test_a_helper_can_have_nothing(helper: Path) -> None:
    assert _ask(helper, "echo credentials not found in native keychain; exit 1") is None


@pytest.mark.parametrize(
    "answer",
    [
        "echo hunter2; exit 3",
        "echo hunter2",
        'echo \'{"Username": 1, "Secret": "hunter2"}\'',
        "echo hunter2; kill -9 $$",
    ],
    ids=["fails", "no JSON", "wrong types", "is killed"],
)
def test_a_helper_that_fails_is_an_error_without_its_output(helper: Path, answer: str) -> None:
    with pytest.raises(AuthenticationError, match="docker-credential-fake") as caught:
        _ask(helper, answer)
    assert "hunter2" not in str(caught.value)


def test_a_helper_that_is_missing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text('{"credHelpers": {"h.example": "no-such-helper"}}')
    with pytest.raises(AuthenticationError, match="not installed"):
        CredentialSources(tmp_path / "auth.json").lookup("h.example/a")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param("rm $file", "No such file or directory", id="gone"),
        pytest.param("rm $file; rmdir $folder; touch $folder", "Not a directory", id="its directory became a file"),
        pytest.param("rm $file; mkdir $file", "Is a directory", id="became a directory"),
    ],
)
def test_a_file_that_changes_while_a_helper_is_asked_is_an_error(helper: Path, change: str, problem: str) -> None:
    first, second, _ = (helper / name.format(uid=os.getuid()) for name in PERSONAL)
    _write(second, **{"h.example": _entry("file")})
    first.parent.mkdir(parents=True)
    first.write_text(json.dumps({"credHelpers": {"h.example": "fake"}}))
    (helper / "answer").write_text(f"file={second} folder={second.parent}\n{change}\n{NOTHING}")
    with pytest.raises(ConfigError) as caught:
        CredentialSources(root=helper, environment={}, podman=True).lookup("h.example/a")
    assert (caught.value.source, caught.value.problem) == (str(second), f"cannot be read: {problem}")


# ---------------------------------------------------------------- credential-helpers of registries.conf


FOUND = """echo '{"Username": "helper", "Secret": "s"}'"""
NOTHING = "echo credentials not found in native keychain; exit 1"


@pytest.mark.parametrize(
    ("helpers", "answer", "expected"),
    [
        (("containers-auth.json", "fake"), FOUND, "file"),
        (("fake", "containers-auth.json"), FOUND, "helper"),
        (("fake", "containers-auth.json"), NOTHING, "file"),
        (("fake", "containers-auth.json"), "exit 7", "file"),
        (("missing-helper", "fake"), FOUND, "helper"),
        (("fake",), NOTHING, None),
        ((), FOUND, None),
    ],
)
def test_helpers_are_asked_in_order(helper: Path, helpers: tuple[str, ...], answer: str, expected: str | None) -> None:
    (helper / "answer").write_text(answer)
    authfile = _write(helper / "auth.json", **{"h.example": _entry("file")})
    assert _user(CredentialSources(authfile, helpers=helpers)) == expected


def test_a_helper_that_fails_is_an_error_if_nobody_else_has_anything(helper: Path) -> None:
    (helper / "answer").write_text("exit 7")
    sources = CredentialSources(root=helper, environment={}, helpers=("fake", "containers-auth.json"))
    with pytest.raises(AuthenticationError, match="exit code 7"):
        sources.lookup("h.example/a")
    with pytest.raises(ConfigError, match=r"registries\.conf"):
        CredentialSources(root=helper, environment={}, helpers=("../fake",)).lookup("h.example/a")


def test_credentials_know_where_they_come_from(helper: Path) -> None:
    authfile = _write(helper / "auth.json", **{"h.example": _entry("file")})
    (helper / "answer").write_text(FOUND)
    for helpers, origin in ((("containers-auth.json",), str(authfile)), (("fake",), "docker-credential-fake")):
        found = CredentialSources(authfile, helpers=helpers).lookup("h.example/a")
        assert found is not None
        assert found.origin == origin
