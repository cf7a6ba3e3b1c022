"""Our labels against libselinux's, with Debian's whole policy and with patterns made to tell readings apart."""

from __future__ import annotations

import random
import re
import re._constants as constants  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import stat
import string
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bootc import pcre
from bootc.labels import Policy
from tests.selinux import KINDS, libselinux_labels, module_contexts, unpacked

MODES = dict(
    zip(
        KINDS,
        (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFIFO),
        strict=True,
    )
)
BASE = "etc/selinux/default/contexts/files/file_contexts"


class Sampler:
    """Writes texts that match a pattern, and some that nearly do."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def sample(self, regex: str) -> str:
        text = self._of(parser.parse(pcre.translate(regex), re.DOTALL))
        if self.random.random() < 0.3:
            text = self.random.choice([text + "x", text[:-1], text + "/", text + "/y", text.replace("/", "//", 1)])
        text = re.sub(r"[^ -~]", "q", text).strip()
        return text if text.startswith("/") else f"/{text}"

    def _of(self, parsed: Any) -> str:
        return "".join(self._item(kind, value) for kind, value in parsed)

    def _item(self, kind: Any, value: Any) -> str:
        match kind:
            case constants.LITERAL:
                return chr(value)
            case constants.NOT_LITERAL | constants.ANY:
                return self.random.choice("abz.0")
            case constants.IN:
                return self._member(value)
            case constants.BRANCH:
                return self._of(self.random.choice(value[1]))
            case constants.SUBPATTERN:
                return self._of(value[3])
            case constants.MAX_REPEAT | constants.MIN_REPEAT | constants.POSSESSIVE_REPEAT:
                low, high, inner = value
                times = self.random.randint(low, min(high, low + 3))
                return "".join(self._of(inner) for _ in range(times))
            case _:
                return ""

    def _member(self, items: Any) -> str:
        allowed = re.compile(f"[{''.join(self._written(item) for item in items)}]", re.DOTALL)
        return self.random.choice([char for char in string.printable[:94] if allowed.fullmatch(char)] or ["q"])

    def _written(self, item: Any) -> str:
        kind, value = item
        match kind:
            case constants.NEGATE:
                return "^"
            case constants.RANGE:
                return f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
            case constants.LITERAL:
                return re.escape(chr(value))
            case _:
                return {"category_digit": "0-9", "category_space": " ", "category_word": r"\w"}[str(value).lower()]


def policy(files: dict[str, str]) -> Policy:
    content = {f"{BASE}{suffix}": text.encode() for suffix, text in files.items()}
    loaded = Policy.load({"etc/selinux/config": b"SELINUXTYPE=default", **content}.get)
    assert loaded is not None
    return loaded


def require_same(folder: Path, files: dict[str, str], paths: Iterable[str], kinds: Iterable[str] = KINDS) -> None:
    """Write the files and compare the labels of all paths as each kind of file."""
    for suffix, text in files.items():
        (folder / f"file_contexts{suffix}").write_text(text)
    ours = policy(files)
    wanted = list(paths)
    for kind in kinds:
        theirs = libselinux_labels(folder / "file_contexts", kind, wanted)
        found = [ours.label(path, MODES[kind] | 0o755) for path in wanted]
        assert [pair for pair in zip(wanted, found, theirs, strict=True) if pair[1] != pair[2]] == []


@pytest.fixture(scope="module")
def debian() -> list[str]:
    return module_contexts()


@pytest.fixture(scope="module")
def substitutions() -> str:
    return (unpacked() / f"{BASE}.subs_dist").read_text()


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_paths_made_from_every_line_of_debian_s_policy(
    tmp_path: Path, debian: list[str], substitutions: str, order: str
) -> None:
    sampler = Sampler(7)
    lines = debian if order == "sorted" else sampler.random.sample(debian, len(debian))
    paths = [sampler.sample(line.split()[0]) for line in lines]
    files = {"": "\n".join(lines) + "\n", ".subs_dist": substitutions}
    require_same(tmp_path, files, paths, KINDS[:3] if order == "sorted" else KINDS[:1])
    require_same(tmp_path, files, paths[::10], KINDS)


def test_the_files_of_this_system(tmp_path: Path, debian: list[str], substitutions: str) -> None:
    paths = [str(path) for top in ("/etc", "/usr/bin", "/usr/lib/systemd", "/var/lib") for path in Path(top).rglob("*")]
    printable = [path for path in paths if path.isprintable()][:6000]
    require_same(tmp_path, {"": "\n".join(debian) + "\n", ".subs_dist": substitutions}, printable, KINDS[:2])


def test_ten_thousand_files_are_labelled_in_a_second(debian: list[str], substitutions: str) -> None:
    sampler = Sampler(1)
    lines = [line.split()[0] for line in debian]
    paths = [sampler.sample(sampler.random.choice(lines)) for _ in range(5000)]
    paths += [f"/usr/lib/modules/6.1/kernel/{number}/module.ko" for number in range(5000)]
    start = time.process_time()
    ours = policy({"": "\n".join(debian), ".subs_dist": substitutions})
    for path in paths:
        ours.label(path, stat.S_IFREG)
    assert time.process_time() - start < 2


RANKS = """
/.* system_u:object_r:all_t:s0
/a/.* system_u:object_r:below_t:s0
/a/b -- system_u:object_r:exact_file_t:s0
/a/b system_u:object_r:exact_t:s0
/a/b -d system_u:object_r:exact_dir_t:s0
/a/b.* system_u:object_r:later_t:s0
/a/c\\.d system_u:object_r:escaped_t:s0
/a/c.d system_u:object_r:dot_t:s0
/a/n <<none>>
/a/n/.* <<none>>
/a/n/x(/.*)? system_u:object_r:inside_t:s0
/a/e.* system_u:object_r:first_t:s0
/a/[e-g].* -l system_u:object_r:second_link_t:s0
/a/f.* <<none>>
/a -d system_u:object_r:top_t:s0
/ -d system_u:object_r:root_t:s0
/d/x|/e/y system_u:object_r:loose_t:s0
/[de]/x|/e/y/z|/f/y system_u:object_r:looser_t:s0
/a/p+ system_u:object_r:plus_t:s0
/a/p+q? system_u:object_r:plus_more_t:s0
/a/r{2} system_u:object_r:twice_t:s0
/a/r{2,3}s system_u:object_r:thrice_t:s0
/a/s{x system_u:object_r:brace_t:s0
/a/t[[:digit:]]+[^[:alpha:]] system_u:object_r:posix_t:s0
/a/u[]/]v system_u:object_r:bracket_t:s0
/a/u[^]/]w[a[b&&~|] system_u:object_r:odd_t:s0
/a/v\\d\\w\\- system_u:object_r:escapes_t:s0
/a/w(?:x|y)(z)?(?!q).* system_u:object_r:groups_t:s0
/a/x++y system_u:object_r:possessive_t:s0
/a/y.?/z? system_u:object_r:optional_t:s0
/a/\\+ system_u:object_r:sign_t:s0
/a/z$ system_u:object_r:end_t:s0
/a//g system_u:object_r:double_t:s0
"""


def test_ranks_and_patterns(tmp_path: Path) -> None:
    sampler = Sampler(3)
    regexes = [line.split()[0] for line in RANKS.strip().splitlines()]
    paths = ["/", "/a", "/a/", "//a//b/", "/a/b", "/a/bc", "/a/n", "/a/n/x", "/a/n/y", "/a/e", "/a/f", "/zz", "/a/g"]
    paths += [
        "/d/x",
        "/d/xy",
        "/e/y",
        "/d/e/y",
        "/q/e/y/z/r",
        "/q/f/y",
        "/q/f/y/",
        "/a/s{x",
        "/a/c.d",
        "/a/cxd",
        "/a//g",
    ]
    paths += [sampler.sample(regex) for regex in regexes for _ in range(40)]
    require_same(tmp_path, {"": RANKS}, paths)


def test_companions_and_substitutions(tmp_path: Path) -> None:
    files = {
        "": "/home/[^/]+(/.*)? u:r:home_t:s0\n/usr/x u:r:main_t:s0\n/usr/.* u:r:usr_t:s0\n/.* u:r:all_t:s0\n",
        ".homedirs": "# written by a tool\n\n  /home/[^/]+/\\.ssh(/.*)?\tu:r:ssh_t:s0\n/.*/late -- u:r:homedirs_t:s0\n",
        ".local": "/usr/.*/late u:r:local_t:s0\n/usr/x -- u:r:local_exact_t:s0 ignored\n/usr/y u:r:one_t:s0\n",
        ".subs_dist": "# aliases\n/bin /usr/bin\n/usr/bin2 /usr/x\n/r /\n/alias /usr/y\n  /w\t/usr/z  more\n/only\n",
        ".subs": "/srv /home\n/alias /usr\n/alias /bin\n/home/joe /home/ann/.ssh\n",
    }
    names = ["", "/a", "/x", "/y", "/late", "/a/late", "/.ssh", "/.ssh/id", "2", "/usr/x"]
    tops = ["/home/joe", "/home", "/usr", "/bin", "/usr/bin2", "/r", "/alias", "/w", "/srv", "/srv/joe", "/only"]
    require_same(tmp_path, files, [top + name for top in tops for name in names])
