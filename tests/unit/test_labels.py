"""Labels from an image's own policy: which policy, which line, and what is refused."""

from __future__ import annotations

import stat

import pytest

from bootc import pcre
from bootc.errors import ConfigError
from bootc.labels import Policy

BASE = "etc/selinux/targeted/contexts/files/file_contexts"
FILE, DIRECTORY, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


def load(contexts: str, config: str = "SELINUX=enforcing\nSELINUXTYPE=targeted\n", **more: str) -> Policy:
    files = {"etc/selinux/config": config, BASE: contexts, **{f"{BASE}.{name}": text for name, text in more.items()}}
    policy = Policy.load({name: text.encode() for name, text in files.items()}.get)
    assert policy is not None
    return policy


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("SELINUXTYPE=targeted", "targeted"),
        ("# SELINUXTYPE=other\n  selinuxtype=targeted  \n", "targeted"),
        ("SELINUXTYPE=mls\nSELINUXTYPE=targeted\n", "targeted"),
        ("SELINUX=disabled\n", "targeted"),
    ],
)
def test_the_configuration_names_the_policy(config: str, name: str) -> None:
    policy = load("/.* u:r:x_t:s0", config)
    assert (policy.name, policy.label("/a", FILE)) == (name, "u:r:x_t:s0")


def test_an_image_without_policy_has_no_labels() -> None:
    assert Policy.load(lambda path: None) is None
    assert Policy.load({"etc/selinux/config": b"SELINUXTYPE=targeted"}.get) is None


def test_a_policy_may_lie_where_ostree_keeps_the_original_etc() -> None:
    files = {"etc/selinux/config": b"SELINUXTYPE=targeted", BASE: b"/.* u:r:x_t:s0"}
    policy = Policy.load({f"usr/{name}": data for name, data in files.items()}.get)
    assert policy is not None
    assert policy.label("/a", FILE) == "u:r:x_t:s0"


@pytest.mark.parametrize("name", ["../../tmp", "a/b", "..", "a b"])
def test_a_policy_s_name_cannot_lead_elsewhere(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a policy"):
        load("", f"SELINUXTYPE={name}")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("/a", "line 2: not a pattern"),
        ("/a -x u:r:x_t:s0", "line 2: not a pattern"),
        ("/\u00e4 u:r:x_t:s0", "line 2: not a pattern"),
    ],
)
def test_a_line_that_libselinux_would_not_load_is_refused(line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load(f"# first\n{line}\n")


@pytest.mark.parametrize("regex", ["/a(b", "/a[b", "/a\\qb", "/a[[:what:]]", "/a.\\", "/a(?i)b", "/a**"])
def test_a_pattern_that_cannot_be_compiled_is_named(regex: str) -> None:
    policy = load(f"/b.* u:r:x_t:s0\n{regex} u:r:x_t:s0\n")
    with pytest.raises(ConfigError, match="line 2: pattern /a"):
        policy.label("/ab", FILE)


def test_the_last_line_wins_and_plain_paths_win_over_patterns() -> None:
    policy = load("/a u:r:plain_t:s0\n/a.* u:r:first_t:s0\n/a[bc].* -l u:r:link_t:s0\n/a.*c u:r:last_t:s0\n")
    assert [policy.label(path, FILE) for path in ("/a", "/ab", "/abc", "/b")] == [
        "u:r:plain_t:s0",
        "u:r:first_t:s0",
        "u:r:last_t:s0",
        None,
    ]
    assert policy.label("/ab", LINK) == "u:r:link_t:s0"


def test_none_means_no_label() -> None:
    policy = load("/.* u:r:x_t:s0\n/proc/.* <<none>>\n/dev <<none>>\n")
    assert [policy.label(path, DIRECTORY) for path in ("/proc", "/proc/1", "/dev", "/dev/a")] == [
        "u:r:x_t:s0",
        None,
        None,
        "u:r:x_t:s0",
    ]


def test_companions_come_after_the_main_file() -> None:
    policy = load(
        "/home/[^/]+ u:r:main_t:s0\n", homedirs="/home/a.* u:r:homedirs_t:s0\n", local="/home/ab u:r:local_t:s0"
    )
    assert [policy.label(f"/home/{name}", DIRECTORY) for name in ("x", "a", "ab")] == [
        "u:r:main_t:s0",
        "u:r:homedirs_t:s0",
        "u:r:local_t:s0",
    ]


def test_local_substitutions_come_before_those_of_the_distribution() -> None:
    policy = load("/usr/lib/.* u:r:lib_t:s0\n", subs="/srv/lib /lib64\n", subs_dist="/lib64 /lib\n/lib64 /usr/lib\n")
    assert [policy.label(path, FILE) for path in ("/lib64/a", "/srv/lib//a", "/srv/library/a")] == [
        "u:r:lib_t:s0",
        "u:r:lib_t:s0",
        None,
    ]


def test_names_that_are_not_utf_8_match_byte_by_byte() -> None:
    policy = load("/a/... u:r:three_t:s0\n/b/\\.. u:r:dot_t:s0\n")
    assert policy.label("/a/\udcff\u00e4", FILE) == "u:r:three_t:s0"
    assert policy.label("/a/\u00e4", FILE) is None
    assert policy.label("/b/.\n", FILE) == "u:r:dot_t:s0"


def test_a_mode_without_a_type_is_any_file() -> None:
    policy = load("/a -d u:r:directory_t:s0\n/b.* -l u:r:link_t:s0\n")
    assert [policy.label(path, 0) for path in ("/a", "/bc")] == ["u:r:directory_t:s0", "u:r:link_t:s0"]


@pytest.mark.parametrize(
    ("regex", "expected"),
    [
        ("/usr/bin", ("/usr/bin", 8)),
        ("/usr/s?bin", ("/usr/", 5)),
        ("/usr/a\\.d/.*", ("/usr/a.d/", 10)),
        ("/usr/a\\.?", ("/usr/a", 6)),
        ("/a\\d", ("/a", 2)),
        ("/a+", ("/", 1)),
        ("/ab{2}", ("/a", 2)),
        ("/a\\", ("/a", 2)),
        (".*", ("", 0)),
    ],
)
def test_the_beginning_of_a_pattern(regex: str, expected: tuple[str, int]) -> None:
    assert pcre.beginning(regex) == expected


@pytest.mark.parametrize(
    ("regex", "expected"),
    [
        ("/a(/.*)?", "/a(?:/.*)?"),
        ("/(?:a|b)(?=c)(?!d)(?<!e)", "/(?:a|b)(?=c)(?!d)(?<!e)"),
        ("/a{,3}b{2}c{1,}d{x}", r"/a\{,3}b{2}c{1,}d\{x}"),
        ("/[[:digit:]_][]a][^]b][[c&&]", r"/[0-9_][\]a][^\]b][\[c\&\&]"),
        ("/a\\.\\-\\d", "/a\\.\\-\\d"),
    ],
)
def test_patterns_in_the_words_of_python(regex: str, expected: str) -> None:
    assert pcre.translate(regex) == expected


def test_alternatives_are_those_outside_groups() -> None:
    assert pcre.alternatives("/a(b|c)[|]\\||/d|e") == ["/a(b|c)[|]\\|", "/d", "e"]
