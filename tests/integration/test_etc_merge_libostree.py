"""Our merge of /etc, and what we foretell of libostree's, beside libostree itself."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from attrs import frozen

from bootc.etc_merge import MergeFinding, Reason, apply, diff, plan, preview_ostree
from tests.ostree_images import mutable_afterwards
from tests.unit.etc_trees import Entry, Link, Mode, Normal, Tree, normal, write
from tests.unit.test_etc_merge import ATOMS, ROWS, side
from tests.unit.test_etc_merge_ostree import CASES

pytestmark = pytest.mark.root

Triple = tuple[Entry, Entry, Entry]
"""old, current, new"""


@frozen
class Stateroot:
    """A system that libostree deployed, and whose /etc was changed then."""

    sysroot: Path
    name: str

    def ostree(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["ostree", *words], capture_output=True, text=True)

    def admin(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.ostree("admin", f"--sysroot={self.sysroot}", *words)

    def deploy(self, etc: Entry) -> subprocess.CompletedProcess[str]:
        """Commit a tree that holds little but this /etc, and deploy it, with a merge if there is a deployment."""
        tree = self.sysroot.parent / f"{self.name}-tree"
        kernel = {"vmlinuz": b"kernel", "initramfs.img": b"initramfs"}
        write(tree, {"usr": {"lib": {"modules": {"6": kernel}, "os-release": b"ID=x\n"}, "etc": etc}})
        words = ("commit", "-b", self.name, "--consume", str(tree))
        done = self.ostree(f"--repo={self.sysroot}/ostree/repo", *words)
        assert done.returncode == 0, done.stderr
        return self.admin("deploy", f"--os={self.name}", self.name)

    def change(self, etc: Entry) -> None:
        """Make this the deployment's /etc."""
        changed = write(self.sysroot.parent / f"{self.name}-etc", etc)
        subprocess.run(["find", self.etc, "-mindepth", "1", "-delete"], check=True)
        subprocess.run(["cp", "-a", f"{changed}/.", self.etc], check=True)

    @property
    def etc(self) -> Path:
        """The /etc of the deployment that is first in boot order."""
        shown = self.admin("status").stdout.split()
        position = shown.index(self.name)
        return self.sysroot / f"ostree/deploy/{self.name}/deploy" / shown[position + 1] / "etc"


@pytest.fixture(scope="module")
def sysroot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("ostree") / "sysroot"
    root.mkdir()
    subprocess.run(["ostree", "admin", "init-fs", root], check=True)
    subprocess.run(["ostree", f"--repo={root}/ostree/repo", "config", "set", "core.fsync", "false"], check=True)
    with mutable_afterwards(root):
        yield root


def installed(sysroot: Path, name: str, old: Entry, current: Entry) -> Stateroot:
    made = Stateroot(sysroot, name)
    assert made.admin("os-init", name).returncode == 0
    assert made.deploy(old).returncode == 0
    made.change(current)
    return made


def together(triples: dict[str, Triple]) -> tuple[Tree, Tree, Tree]:
    """Many trees on each side, each below its name."""
    old, current, new = ({name: triple[position] for name, triple in triples.items()} for position in range(3))
    return old, current, new


def merged_by_libostree(sysroot: Path, name: str, sides: tuple[Tree, Tree, Tree]) -> dict[str, Normal]:
    stateroot = installed(sysroot, name, sides[0], sides[1])
    done = stateroot.deploy(sides[2])
    assert done.returncode == 0, done.stderr
    return split(stateroot.etc)


def merged_by_us(folder: Path, sides: tuple[Tree, Tree, Tree]) -> dict[str, Normal]:
    old, current, new = (write(folder / f"ours-{position}", tree) for position, tree in enumerate(sides))
    apply(plan(old, current, new), current, new)
    return split(new)


def split(root: Path) -> dict[str, Normal]:
    """Each name of a tree, without the root itself, in normal form."""
    found = normal(root)
    names = {path.partition("/")[0] for path in found} - {"."}
    return {name: {path: found[path] for path in found if path.partition("/")[0] == name} for name in sorted(names)}


def names_of(findings: Iterable[MergeFinding]) -> set[str]:
    """The first parts of their paths."""
    return {finding.path.split(b"/")[0].decode() for finding in findings}


# ---------------------------------------------------------------- every combination of kinds

REFUSED_ROWS = [name for name in ROWS if name[4] == "d" and name[2] in "abl" and name[0] != name[2]]
"""rows of the table in which a file or link was changed or added, and the new image has a directory"""


def test_every_combination_that_both_merge_is_merged_alike(sysroot: Path, tmp_path: Path) -> None:
    names = [name for name in ROWS if name not in REFUSED_ROWS]
    found = merged_by_libostree(sysroot, "rows", (side(0, names), side(2, names), side(4, names)))
    results = {name: ROWS[name][0].replace("!", "d") for name in names}  # it replaces what is no directory by one
    expected = {name: ATOMS[result] for name, result in results.items() if result != "-"}

    assert found == split(write(tmp_path / "expected", expected))


# ---------------------------------------------------------------- what is foretold

PREVIEWED: dict[str, Triple] = {
    f"case-{number}": triple[:3]
    for number, triple in enumerate(CASES.values())
    if not {"OSTREE_LINK_OUT"} & set(triple[3].values())  # whether that fails depends on what lies outside
}
FATAL = {reason.name for reason in Reason if reason.is_fatal}
REFUSED = {name: PREVIEWED[name] for name in PREVIEWED if FATAL & set(list(CASES.values())[int(name[5:])][3].values())}
REFUSED |= {name: (side(0, [name]), side(2, [name]), side(4, [name])) for name in REFUSED_ROWS}


@pytest.fixture(scope="module")
def refusing(sysroot: Path) -> Stateroot:
    """A system with the local changes of all cases that libostree will refuse for some image."""
    old, current, _ = together(REFUSED)
    return installed(sysroot, "refusing", old, current)


@pytest.mark.parametrize("name", REFUSED)
def test_what_libostree_refuses_is_foretold(refusing: Stateroot, tmp_path: Path, name: str) -> None:
    new = {name: REFUSED[name][2]}
    (tmp_path / "new").mkdir()
    old, current = refusing.etc.parent / "usr/etc", refusing.etc
    found = preview_ostree(old, current, write(tmp_path / "new/etc", new))

    assert names_of(finding for finding in found if finding.is_fatal) == {name}
    assert refusing.deploy(new).returncode != 0


def test_what_is_foretold_to_succeed_does_and_alike_where_nothing_is_told(sysroot: Path, tmp_path: Path) -> None:
    sides = together({name: triple for name, triple in PREVIEWED.items() if name not in REFUSED})
    trees = [write(tmp_path / str(position), tree) for position, tree in enumerate(sides)]
    told = preview_ostree(*trees)
    theirs = merged_by_libostree(sysroot, "foretold", sides)
    conflicting = names_of(plan(*trees).conflicts)
    differing = {"OSTREE_METADATA", "OSTREE_XATTRS", "OSTREE_CONTENT", "OSTREE_WHOLE"}

    assert len(told) >= 6
    ours = merged_by_us(tmp_path, together({name: PREVIEWED[name] for name in sides[0] if name not in conflicting}))
    for name, result in ours.items():
        reasons = {finding.reason.name for finding in told if name in names_of([finding])}
        assert (theirs[name] == result) == (not reasons), (name, reasons)
        assert reasons <= differing | {"OSTREE_LINK"}


# ---------------------------------------------------------------- random trees


def random_tree(source: random.Random, depth: int = 0) -> Entry:
    kind = source.randrange(8 if depth < 3 else 5)
    if kind < 3:
        return b"%d" % source.randrange(3)
    if kind < 5:
        return Link(source.choice("ab"))
    return {name: random_tree(source, depth + 1) for name in "abc" if source.random() < 0.6}


def mutated(source: random.Random, tree: Entry, depth: int = 0) -> Entry:
    """A tree with some of it changed."""
    if isinstance(tree, bytes | Link | Mode) or source.random() < 0.1:
        return random_tree(source, depth) if source.random() < 0.3 else tree
    found = {name: mutated(source, inner, depth + 1) for name, inner in tree.items() if source.random() > 0.15}
    if source.random() < 0.3:
        found.setdefault("n", random_tree(source, depth + 1))
    return found


def random_triples(count: int) -> dict[str, Triple]:
    source = random.Random(17)
    found: dict[str, Triple] = {}
    for number in range(count):
        old: Tree = {name: random_tree(source) for name in "abc"}
        found[f"tree-{number}"] = (old, with_modes(source, _mutated(source, old)), _mutated(source, old))
    return found


def with_modes(source: random.Random, tree: Tree) -> Tree:
    """The tree with other modes on some of its files and directories."""
    return {name: _with_mode(source, inner) for name, inner in tree.items()}


def _with_mode(source: random.Random, tree: Entry) -> Entry:
    if isinstance(tree, Link | Mode):
        return tree
    inner = tree if isinstance(tree, bytes) else with_modes(source, tree)
    return Mode(inner, 0o700) if source.random() < 0.2 else inner


def _mutated(source: random.Random, tree: Tree) -> Tree:
    return {name: mutated(source, inner) for name, inner in tree.items() if source.random() > 0.1}


def test_random_trees_are_merged_alike_or_refused_as_foretold(sysroot: Path, tmp_path: Path) -> None:
    triples = random_triples(200)
    trees = [write(tmp_path / str(position), tree) for position, tree in enumerate(together(triples))]
    told = preview_ostree(*trees)
    refused = names_of(finding for finding in told if finding.is_fatal)
    accepted = {name: triple for name, triple in triples.items() if name not in refused}
    theirs = merged_by_libostree(sysroot, "random", together(accepted))
    alike = accepted.keys() - names_of(told) - names_of(plan(*trees).conflicts)
    ours = merged_by_us(tmp_path, together({name: triples[name] for name in alike}))

    assert len(alike) > 70
    assert len(refused) > 10
    for name in alike:
        assert theirs[name] == ours[name], name


def test_random_trees_that_are_refused(sysroot: Path, tmp_path: Path) -> None:
    triples = random_triples(200)
    trees = [write(tmp_path / str(position), tree) for position, tree in enumerate(together(triples))]
    fatal = [finding for finding in preview_ostree(*trees) if finding.is_fatal]
    certain = names_of(fatal) - names_of(finding for finding in fatal if finding.reason is Reason.OSTREE_LINK_OUT)
    chosen = sorted(certain)[:6]
    old, current, new = together({name: triples[name] for name in chosen})
    stateroot = installed(sysroot, "refused", old, current)

    assert len(chosen) == 6
    for name in chosen:
        assert stateroot.deploy({name: new[name]}).returncode != 0, name


def test_the_difference_is_as_libostree_prints_it(sysroot: Path) -> None:
    old: Tree = {"same": b"", "f": b"f", "gone": {"x": b"x"}, "d": {"f": b"f"}, "k": {"x": b"x"}}
    current: Tree = {"same": b"", "f": b"c", "d": {"f": b"f", "n": b""}, "a": {"b": {"c": b"c"}}, "k": b""}
    stateroot = installed(sysroot, "diff", old, current)
    printed = stateroot.admin("config-diff", "--os=diff").stdout
    letters = {"added": "A", "modified": "M", "removed": "D"}
    found = diff(stateroot.etc.parent / "usr/etc", stateroot.etc)

    assert sorted(printed.splitlines()) == sorted(f"{letters[one.change.value]}    {one}" for one in found)
