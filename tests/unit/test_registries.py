"""registries.conf: what a file may say, which files count, and where an image is then asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from bootc_containers.names import RegistryName
from bootc_containers.places import Places
from bootc_containers.registries import Registries
from bootc_containers.registries_file import AUTH_FILES, PullRule, parse

from bootc.errors import ConfigError, PolicyError, ReferenceError

HEX = "ab" * 32


def load(root: Path, text: str | None = None, uid: int = 0, **drop_ins: str) -> Registries:
    """The configuration of a root directory: registries.conf, and drop-ins by name."""
    folder = root / "etc/containers"
    (folder / "registries.conf.d").mkdir(parents=True, exist_ok=True)
    if text is not None:
        (folder / "registries.conf").write_text(text)
    for name, content in drop_ins.items():
        (folder / f"registries.conf.d/{name}.conf").write_text(content)
    return Registries.load(Places(root, {}, uid))


def ask(found: Registries, name: str) -> list[str]:
    """The names under which an image is asked for; `!` marks insecure ones."""
    return [
        f"{source.name.repository}{'@' if source.name.digest else ':'}{source.name.selector}{'!' * source.is_insecure}"
        for source in found.sources(RegistryName.parse(name), name)
    ]


# ---------------------------------------------------------------- which files


def test_without_any_file_an_image_comes_from_its_registry(tmp_path: Path) -> None:
    found = Registries.load(Places(tmp_path, {}, 0))
    assert found == Registries(learned=found.learned)
    assert ask(found, "h.example/a:1") == ["h.example/a:1"]


def write(path: Path, mirror: str, prefix: str = "h.example") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'[[registry]]\nlocation = "{prefix}"\n[[registry.mirror]]\nlocation = "{mirror}"\n')
    return path


def test_etc_comes_before_usr_and_counts_alone(tmp_path: Path) -> None:
    write(tmp_path / "usr/share/containers/registries.conf", "usr.example")
    assert ask(Registries.load(Places(tmp_path, {}, 0)), "h.example/a")[0] == "usr.example/a:latest"
    etc = write(tmp_path / "etc/containers/registries.conf", "etc.example")
    found = Registries.load(Places(tmp_path, {}, 0))
    assert (ask(found, "h.example/a")[0], found.files) == ("etc.example/a:latest", (etc,))


def test_drop_ins_apply_in_the_order_of_their_names_wherever_they_lie(tmp_path: Path) -> None:
    etc, usr = tmp_path / "etc/containers", tmp_path / "usr/share/containers"
    first = write(etc / "registries.conf.d/10-a.conf", "ten.example")
    write(usr / "registries.conf.d/20-b.conf", "hidden.example")
    second = write(etc / "registries.rootful.conf.d/20-b.conf", "twenty.example")
    third = write(usr / "registries.rootful.conf.d/30-c.conf", "thirty.example", "other.example")
    write(etc / "registries.rootless.conf.d/90-d.conf", "never.example")
    (etc / "registries.conf.d/95-no").write_text("no configuration")
    found = Registries.load(Places(tmp_path, {}, 0))
    assert found.files == (first, second, third)
    assert ask(found, "h.example/a") == ["twenty.example/a:latest", "h.example/a:latest"]
    assert ask(Registries.load(Places(tmp_path, {}, 7)), "h.example/a")[0] == "never.example/a:latest"


def test_a_person_s_own_files_and_the_environment_count_on_the_running_system(tmp_path: Path) -> None:
    own = write(tmp_path / "containers/registries.conf", "own.example")
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert own in Registries.load(Places(environment=environment)).files
    explicit = write(tmp_path / "explicit.conf", "explicit.example")
    last = write(tmp_path / "last.conf", "last.example", "other.example")
    environment |= {"CONTAINERS_REGISTRIES_CONF": str(explicit), "CONTAINERS_REGISTRIES_CONF_OVERRIDE": str(last)}
    found = Registries.load(Places(environment=environment))
    assert found.files == (explicit, last)
    assert ask(found, "other.example/a")[0] == "last.example/a:latest"
    with pytest.raises(ConfigError, match="does not exist"):
        Registries.load(Places(environment={"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "none")}))


def test_an_empty_list_of_helpers_means_the_files(tmp_path: Path) -> None:
    assert load(tmp_path, 'credential-helpers = ["one"]', a="credential-helpers = []").helpers == (AUTH_FILES,)
    assert load(tmp_path, b='credential-helpers = ["two"]').helpers == ("two",)


def test_later_files_replace_tables_and_lists_as_a_whole(tmp_path: Path) -> None:
    main = """
        unqualified-search-registries = ["a.example", "b.example"]
        credential-helpers = ["one"]
        [[registry]]
        location = "h.example"
        insecure = true
        [[registry.mirror]]
        location = "m.example"
        [aliases]
        os = "a.example/os"
        gone = "a.example/gone"
    """
    later = """
        unqualified-search-registries = []
        [[registry]]
        location = "h.example"
        [aliases]
        gone = ""
    """
    found = load(tmp_path, main, later=later)
    assert (found.search, found.helpers) == ((), ("one",))
    assert ask(found, "h.example/a") == ["h.example/a:latest"]
    assert (found.meanings("os"), found.meanings("gone")) == (("a.example/os",), ())


# ---------------------------------------------------------------- what a file may say

INVALID = {
    "no TOML": "[[registry",
    "not UTF-8 text": "a = '\\ud800'\n[",
    "registry is a table": "[registry]\nlocation = 'a'",
    "no location": "[[registry]]\nprefix = 'a.example'",
    "empty": "[[registry]]",
    "scheme in the location": "[[registry]]\nlocation = 'https://a.example'",
    "scheme in the prefix": "[[registry]]\nlocation = 'a.example'\nprefix = 'http://a.example'",
    "wildcard with a path": "[[registry]]\nprefix = '*.example/a'",
    "wildcard with a port": "[[registry]]\nprefix = '*.example:5000'",
    "insecure is a text": "[[registry]]\nlocation = 'a.example'\ninsecure = 'yes'",
    "blocked is a number": "[[registry]]\nlocation = 'a.example'\nblocked = 1",
    "mirror without location": "[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\ninsecure = true",
    "mirror with a scheme": "[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\nlocation = 'http://b.example'",
    "blocked tag": "[[registry]]\nlocation = 'a.example/b:1'\nblocked = true",
    "unknown rule": "[[registry]]\nlocation = 'a'\n[[registry.mirror]]\nlocation = 'b'\npull-from-mirror = 'never'",
    "rule of the registry": "[[registry]]\nlocation = 'a'\npull-from-mirror = 'all'",
    "two rules": "[[registry]]\nlocation = 'a'\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = 'b'\n"
    "pull-from-mirror = 'all'",
    "twice, blocked and not": "[[registry]]\nlocation = 'a'\nblocked = true\n[[registry]]\nprefix='b'\nlocation = 'a'",
    "twice, insecure and not": "[[registry]]\nlocation = 'a'\ninsecure = true\n[[registry]]\nprefix='b'\n"
    "location = 'a'",
    "search is a text": "unqualified-search-registries = 'a.example'",
    "search holds a number": "unqualified-search-registries = [1]",
    "helpers hold a table": "credential-helpers = [{}]",
    "unknown mode": "short-name-mode = 'sometimes'",
    "alias is a list": "[aliases]\na = ['b.example/a']",
    "both versions": "unqualified-search-registries = []\n[registries.search]\nregistries = ['a.example']",
}


@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID)
def test_a_file_that_is_not_valid_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"etc/containers/registries\.conf"):
        load(tmp_path, text)


def test_unknown_keys_are_passed_over() -> None:
    assert parse(b"new = 1\n[[registry]]\nlocation = 'a.example'\nnewer = 2\n", "f").registries[0].prefix == "a.example"


def test_the_first_table_of_a_prefix_counts() -> None:
    text = b"[[registry]]\nprefix = 'a.example'\nlocation = 'x'\n[[registry]]\nprefix = 'a.example'\nlocation = 'y'\n"
    assert [registry.location for registry in parse(text, "f").registries] == ["x"]


def test_rules_of_mirrors_are_read() -> None:
    text = "[[registry]]\nlocation = 'a'\n" + "".join(
        f"[[registry.mirror]]\nlocation = '{rule.value}/'\npull-from-mirror = '{rule.value}'\n" for rule in PullRule
    )
    (registry,) = parse(text.encode(), "f").registries
    assert [(mirror.location, mirror.rule) for mirror in registry.mirrors] == [(rule.value, rule) for rule in PullRule]


def test_version_1_is_read_in_the_main_file_only(tmp_path: Path) -> None:
    text = """
        [registries.search]
        registries = ["a.example"]
        [registries.insecure]
        registries = ["plain.example"]
        [registries.block]
        registries = ["bad.example"]
    """
    found = load(tmp_path, text)
    assert found.search == ("a.example",)
    assert ask(found, "plain.example/a") == ["plain.example/a:latest!"]
    with pytest.raises(PolicyError, match="blocked"):
        ask(found, "bad.example/a")
    with pytest.raises(ConfigError, match="version 1"):
        load(tmp_path, "", drop=text)


# ---------------------------------------------------------------- which table, and what it makes of a name


def table(prefix: str, location: str = "", **more: object) -> str:
    lines = [f'prefix = "{prefix}"', f'location = "{location}"']
    lines += [f"{key.replace('_', '-')} = {str(value).lower()}" for key, value in more.items()]
    return "[[registry]]\n" + "\n".join(lines) + "\n"


MATCHES = {
    "host": ("h.example", "h.example/a/b:1", "new.example/x/a/b:1"),
    "namespace": ("h.example/a", "h.example/a/b:1", "new.example/x/b:1"),
    "repository": ("h.example/a/b", "h.example/a/b:1", "new.example/x:1"),
    "repository by digest": ("h.example/a/b", f"h.example/a/b@sha256:{HEX}", f"new.example/x@sha256:{HEX}"),
    "both tag and digest": ("h.example/a", f"h.example/a/b:1@sha256:{HEX}", f"new.example/x/b@sha256:{HEX}"),
    "half a name": ("h.example/a", "h.example/ab:1", "h.example/ab:1"),
    "half a host": ("h.exam", "h.example/a:1", "h.example/a:1"),
    "port as upstream has it": ("h.example", "h.example:5000/a:1", None),
    "another port": ("h.example:5000", "h.example:5001/a:1", "h.example:5001/a:1"),
    "host without its port": ("h.example:5000", "h.example/a:1", "h.example/a:1"),
    "wildcard": ("*.example", "h.example/a:1", "new.example/x/a:1"),
    "deep wildcard": ("*.example", "a.b.example/a:1", "new.example/x/a:1"),
    "wildcard with a port": ("*.example", "h.example:5000/a:1", None),
    "wildcard and the domain itself": ("*.h.example", "h.example/a:1", "h.example/a:1"),
    "wildcard of another domain": ("*.example", "h.examples/a:1", "h.examples/a:1"),
    "wildcard in a path": ("*.example", "other.org/h.example:1", "other.org/h.example:1"),
    "Docker Hub": ("docker.io/library", "debian", "new.example/x/debian:latest"),
}


@pytest.mark.parametrize(("prefix", "name", "expected"), MATCHES.values(), ids=MATCHES)
def test_the_beginning_of_a_name_is_replaced(tmp_path: Path, prefix: str, name: str, expected: str | None) -> None:
    found = load(tmp_path, table(prefix, "new.example/x"))
    if expected is None:  # what is left begins with a port
        with pytest.raises(ConfigError, match="makes"):
            ask(found, name)
    else:
        assert ask(found, name) == [expected]


def test_the_longest_prefix_counts(tmp_path: Path) -> None:
    prefixes = ("*.example", "h.example", "h.example/a", "h.example/a/b/c", "h.example/a/b:latest")
    found = load(tmp_path, "".join(table(prefix, f"l{n}.org") for n, prefix in enumerate(prefixes)))
    assert ask(found, "x.example/a")[0] == "l0.org/a:latest"
    assert ask(found, "h.example/b")[0] == "l1.org/b:latest"
    assert ask(found, "h.example/a/b")[0] == "l2.org/b:latest"


def test_a_wildcard_without_location_rewrites_nothing(tmp_path: Path) -> None:
    assert ask(load(tmp_path, table("*.example", insecure=True)), "h.example:5000/a") == ["h.example:5000/a:latest!"]


@pytest.mark.parametrize("location", ["docker.io", "mirror", "h example", "UPPER/Case"])
def test_a_location_must_make_a_whole_name(tmp_path: Path, location: str) -> None:
    with pytest.raises(ConfigError):
        ask(load(tmp_path, table("h.example", location)), "h.example/a")


RULES = """
[[registry]]
location = "h.example"
insecure = true
[[registry.mirror]]
location = "all.example"
[[registry.mirror]]
location = "digest.example/d"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tag.example/t/"
pull-from-mirror = "tag-only"
insecure = true
"""


def test_mirrors_come_first_and_in_order(tmp_path: Path) -> None:
    found = load(tmp_path, RULES)
    assert ask(found, "h.example/a:1") == ["all.example/a:1", "tag.example/t/a:1!", "h.example/a:1!"]
    digest = f"sha256:{HEX}"
    expected = [f"all.example/a@{digest}", f"digest.example/d/a@{digest}", f"h.example/a@{digest}!"]
    assert ask(found, f"h.example/a@{digest}") == expected
    assert ask(found, f"h.example/a:1@{digest}") == expected


def test_mirrors_can_be_for_digests_only(tmp_path: Path) -> None:
    text = table("h.example", "l.example", mirror_by_digest_only=True) + '[[registry.mirror]]\nlocation = "m.example"\n'
    found = load(tmp_path, text)
    assert ask(found, "h.example/a:1") == ["l.example/a:1"]
    assert ask(found, f"h.example/a@sha256:{HEX}")[0] == f"m.example/a@sha256:{HEX}"


BLOCKED = {
    "itself": (table("h.example", "h.example", blocked=True), "h.example/a"),
    "itself, although it is elsewhere": (table("h.example", "free.example", blocked=True), "h.example/a"),
    "where it really is": (
        table("h.example", "bad.example") + table("bad.example", "other.example", blocked=True),
        "h.example/a",
    ),
    "by a wildcard": (table("*.example", blocked=True), "h.example:5000/a"),
    "a namespace": (table("h.example/bad", "h.example/bad", blocked=True), "h.example/bad/a:1"),
}


@pytest.mark.parametrize(("text", "name"), BLOCKED.values(), ids=BLOCKED)
def test_what_is_blocked_is_refused(tmp_path: Path, text: str, name: str) -> None:
    with pytest.raises(PolicyError, match="blocked by the configuration of registries") as caught:
        ask(load(tmp_path, text), name)
    assert "registries.conf" in (caught.value.hint or "")


def test_a_blocked_mirror_is_left_out(tmp_path: Path) -> None:
    text = '[[registry]]\nlocation = "h.example"\n[[registry.mirror]]\nlocation = "bad.example"\n'
    found = load(tmp_path, text + table("bad.example", "bad.example", blocked=True))
    assert ask(found, "h.example/a") == ["h.example/a:latest"]


def test_other_servers_are_insecure_only_as_a_whole(tmp_path: Path) -> None:
    found = load(
        tmp_path, table("h.example:1", "h.example:1", insecure=True) + table("i.org/a", "i.org/a", insecure=True)
    )
    assert [found.is_insecure(host) for host in ("h.example:1", "h.example", "i.org", "x.org")] == [True, *[False] * 3]


# ---------------------------------------------------------------- short names


SHORT = """
unqualified-search-registries = ["a.example", "docker.io"]
[aliases]
"os" = "a.example/team/os"
"debian" = "docker.io/library/debian"
"""


def test_short_names_mean_what_podman_takes_them_for(tmp_path: Path) -> None:
    found = load(tmp_path, SHORT)
    assert found.meanings("os:1") == ("a.example/team/os",)
    assert found.meanings("x/y") == ("a.example/x/y", "docker.io/x/y")
    assert found.meanings(f"x@sha256:{HEX}") == ("a.example/x", "docker.io/library/x")
    assert found.meanings("localhost/x") == found.meanings("a.example/x") == found.meanings("a:5000/x") == ()


def test_what_was_chosen_at_a_prompt_goes_before_the_files(tmp_path: Path) -> None:
    cache = tmp_path / "var/cache/containers/short-name-aliases.conf"
    cache.parent.mkdir(parents=True)
    cache.write_text('[aliases]\n"os" = "chosen.example/os"\n')
    assert load(tmp_path, SHORT).meanings("os") == ("chosen.example/os",)


def test_a_short_name_with_another_meaning_is_refused(tmp_path: Path) -> None:
    found = load(tmp_path, SHORT)
    for name in ("debian", "debian:12", "quay.io/os", "localhost/os"):
        found.require_unambiguous(name)
    for name in ("os", "unknown"):
        with pytest.raises(ReferenceError, match="ambiguous"):
            found.require_unambiguous(name)
    load(tmp_path, 'unqualified-search-registries = ["docker.io"]').require_unambiguous("unknown")
