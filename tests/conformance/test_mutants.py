"""The kit is tested by mutants: plugins with a fault in one line, each of which fails the clause that forbids it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from attrs import frozen

from bootc.testing.bootloader import BootloaderSuite
from bootc.testing.fetcher import FetcherSuite
from bootc.testing.storage import StorageBackendSuite
from bootc.testing.suite import ConformanceSuite

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
DIRIMAGE = "test_storage_dirimage.py::TestDirimage"
OSTREE = "test_storage_ostree.py::TestOstree"
COMPOSEFS = "test_storage_composefs.py::TestComposefs"
SYSTEMD_BOOT = "test_bootloader_systemd_boot.py::TestSystemdBoot"
REGISTRY = "test_fetcher_registry.py::TestRegistryFetcher"
CONTRACTS: dict[str, type[ConformanceSuite]] = {"S": StorageBackendSuite, "B": BootloaderSuite, "F": FetcherSuite}
WRITER, METADATA = "bootc.roots.trees.writer", "bootc.roots.trees.metadata"
ROOTS, SYSROOT = "bootc.roots.deployer", "bootc.roots.sysroot"


@frozen
class Mutant:
    """One fault."""

    name: str
    clause: str
    """that must fail"""
    suite: str
    module: str
    old: str
    new: str

    @property
    def tests(self) -> list[str]:
        """Of the clause."""
        contract = CONTRACTS[self.clause[0]]
        names = [name for name, clauses in contract.clauses().items() if self.clause in clauses]
        assert names, f"no test cites {self.clause}"
        return names


MUTANTS = [
    Mutant(
        "opaque directories keep what they had",
        "S3.6",
        DIRIMAGE,
        WRITER,
        "                    self._clear(entry.parent)\n",
        "                    pass\n",
    ),
    Mutant(
        "extended attributes are dropped",
        "S3.2",
        DIRIMAGE,
        METADATA,
        "        os.setxattr(at, key, value, follow_symlinks=follows)\n",
        "        pass\n",
    ),
    Mutant(
        "set-user-id bits are dropped",
        "S3.1",
        DIRIMAGE,
        METADATA,
        "os.chmod(at, entry.mode)",
        "os.chmod(at, entry.mode & 0o1777)",
    ),
    Mutant(
        "further names of a file are left out",
        "S3.4",
        OSTREE,
        "bootc_ostree.importer",
        "parent.files[entry.name] = _linked(nodes, entry)",
        "_linked(nodes, entry)",
    ),
    Mutant(
        "what is staged stands on the disk",
        "S4.4",
        DIRIMAGE,
        SYSROOT,
        'self.volume.at(machine.run, "run") if machine.run',
        "self.volume.at(self.volume.path(layout.base)) if machine.run",
    ),
    Mutant(
        "a locked deployment is applied",
        "S4.8",
        DIRIMAGE,
        ROOTS,
        "if record is None or view.is_locked:",
        "if record is None:",
    ),
    Mutant(
        "ids come again",
        "S4.11",
        DIRIMAGE,
        SYSROOT,
        "1 + max([state.number, ",
        "1 + max([0, ",
    ),
    Mutant(
        "a rollback is not its own inverse",
        "S6.2",
        DIRIMAGE,
        ROOTS,
        "evolve(state, order=tuple(order))",
        "evolve(state, order=tuple(sorted(order)))",
    ),
    Mutant(
        "/etc is merged from the wrong pristine one",
        "S7.3",
        DIRIMAGE,
        ROOTS,
        "etc_merge.plan(old, self.etc(origin), new)",
        "etc_merge.plan(new, self.etc(origin), new)",
    ),
    Mutant(
        "/var is copied again",
        "S7.10",
        DIRIMAGE,
        ROOTS,
        "        if not self._volume.is_directory(path):\n",
        "        if self._volume.remove(path) is None:\n",
    ),
    Mutant(
        "what is staged is thrown away",
        "S9.1",
        DIRIMAGE,
        ROOTS,
        "        kept = {*self._sysroot.state().order, *([view.staged.id] if view.staged else ())}\n",
        "        kept = {record.id for record in view.order}\n",
    ),
    Mutant(
        "a lock is always granted",
        "S11.3",
        DIRIMAGE,
        "bootc.host.locking",
        "fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH | fcntl.LOCK_NB",
    ),
    Mutant(
        "a full disk is any failure",
        "S12.1",
        DIRIMAGE,
        "bootc.durable.volume",
        "if error.errno in (errno.ENOSPC, errno.EDQUOT):",
        "if error.errno == errno.EDQUOT:",
    ),
    Mutant(
        "a check reads nothing",
        "S12.3",
        DIRIMAGE,
        "bootc_dirimage.store",
        'if hashlib.file_digest(file, "sha256").hexdigest().encode() != digest:',
        "if not file.readable():",
    ),
    Mutant(
        "a digest is not compared",
        "S12.6",
        DIRIMAGE,
        "bootc.roots.trees.sharing",
        "if measured.digest() != digest:",
        "if not measured.digest():",
    ),
    Mutant(
        "a tree has its name before it is whole",
        "S13.1",
        DIRIMAGE,
        "bootc.roots.layout",
        "    return path.with_name(path.name + PARTIAL)\n",
        "    return path\n",
    ),
    Mutant(
        "another image of the same layers is taken for it",
        "S2.2",
        DIRIMAGE,
        "bootc_dirimage.store",
        "if record and record.image.digest == image.digest",
        "if record",
    ),
    Mutant(
        "layers that are there are fetched again",
        "S2.4",
        DIRIMAGE,
        "bootc_dirimage.store",
        "if layer.diff_id.hex not in present)",
        "if layer)",
    ),
    Mutant(
        "what is left out of the order is deleted before the switch",
        "S13.2",
        COMPOSEFS,
        ROOTS,
        "        self._make_etc(record)\n",
        "        self._make_etc(record)\n"
        "        for old in {*map(str, self._sysroot.state().order)}:\n"
        "            if old not in retention.after_finalizing(view, record.stateroot):\n"
        "                discard(self._volume, self._layout.deployments / old)\n",
    ),
    Mutant(
        "a filesystem is not synced",
        "S13.1",
        DIRIMAGE,
        "bootc.durable.directory",
        '        self._step("syncfs", PurePosixPath())\n',
        "        return\n",
    ),
    Mutant(
        "an object that is there is taken for whole",
        "S12.6",
        COMPOSEFS,
        "bootc_composefs.objects",
        "        if object.digest in self._sound:\n",
        "        if self.size(object) is not None:\n",
    ),
    Mutant(
        "objects are read and compared with nothing",
        "S12.3",
        COMPOSEFS,
        "bootc_composefs.objects",
        "        if measured.digest() != object.digest:\n",
        "        if not measured.digest():\n",
    ),
    Mutant(
        "attributes of kept layers are lost",
        "S3.17",
        COMPOSEFS,
        "bootc_composefs.layer_file",
        "for key, value in entry.xattrs.items()),",
        "for key, value in ()),",
    ),
    Mutant(
        "an /etc that is not merged yet is given out",
        "S7.1",
        OSTREE,
        "bootc_ostree.deployer",
        "if found.is_staged() or not path.is_dir():",
        "if not path.is_dir():",
    ),
    Mutant(
        "files are not synced",
        "B14",
        SYSTEMD_BOOT,
        "bootc.durable.directory",
        '            self._step("fsync", path)\n            os.fsync(descriptor)\n',
        "            pass\n",
    ),
    Mutant(
        "old entries go before the new default is written",
        "B15",
        SYSTEMD_BOOT,
        "bootc.bootloaders.systemd_boot",
        "        for file in plan.writes:\n",
        "        for file in plan.removals:\n"
        "            self._esp.remove(_ENTRIES / str(file.name))\n"
        "        for file in plan.writes:\n",
    ),
    Mutant(
        "a counter begins anew with each write",
        "B22",
        SYSTEMD_BOOT,
        "bootc.bootloaders.entries",
        "    return evolve(max(there, key=_standing), rank=rank)\n",
        "    return FileName(want.key, rank, tries)\n",
    ),
    Mutant(
        "what is served is not compared with its digest",
        "F7",
        REGISTRY,
        "bootc_registry.assemble",
        "    if hashlib.new(digest.algorithm, data).hexdigest() != digest.hex:\n",
        "    if not digest.hex:\n",
    ),
    Mutant(
        "another machine's image is taken",
        "F3",
        REGISTRY,
        "bootc.manifest",
        "architecture != platform.architecture or variant",
        "variant",
    ),
    Mutant(
        "blobs begin at their beginning",
        "F10",
        REGISTRY,
        "bootc_registry.blobs",
        "self._client, self._blob, self._size, self._position = client, blob, size, start\n",
        "self._client, self._blob, self._size, self._position = client, blob, size, 0\n",
    ),
    Mutant(
        "the authorization goes along with redirects",
        "F35",
        REGISTRY,
        "bootc_registry.client",
        "fields = own if is_own else headers",
        "fields = own",
    ),
    Mutant(
        "another range is taken for the one that was asked for",
        "F45",
        REGISTRY,
        "bootc_registry.blobs",
        "(parsed[1], parsed[2]) != wanted",
        "not wanted",
    ),
    Mutant(
        "a body may have any size",
        "F32",
        REGISTRY,
        "bootc_registry.answer",
        "while size <= limit and (data := self.read(limit + 1 - size)):",
        "while data := self.read(1 << 20):",
    ),
    Mutant(
        "what is served for a reference by digest is not compared with it",
        "F33",
        REGISTRY,
        "bootc_registry.registry_source",
        "        require_digest(top.data, name.digest, client.source)\n",
        "        pass\n",
    ),
    Mutant(
        "certificates are not looked at",
        "F44",
        REGISTRY,
        "bootc_registry.adapter",
        '"CERT_REQUIRED" if verify else "CERT_NONE"',
        '"CERT_NONE"',
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_fails_the_clause_that_forbids_it(mutant: Mutant, tmp_path: Path) -> None:
    file, _, suite = mutant.suite.partition("::")
    cases = [f"{ROOT / 'tests/conformance' / file}::{suite}::{test}" for test in mutant.tests]
    options = ["-q", "-rf", "--tb=line", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'mutant'}"]
    run = [sys.executable, "-m", "tests.conformance.mutating", mutant.module, mutant.old, mutant.new]
    done = subprocess.run([*run, *options, *cases], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, f"the mutant lives, or did not run:\n{done.stdout}{done.stderr}"
    failed = {line.split("::")[2].split("[")[0].split(" ")[0] for line in done.stdout.splitlines() if "FAILED" in line}
    assert failed
    assert failed <= {*mutant.tests}


def test_there_are_at_least_twelve() -> None:
    assert len({mutant.name for mutant in MUTANTS}) >= 12
    assert len({mutant.clause for mutant in MUTANTS}) >= 12
