"""Builds layers on top of each other, each once: a cache keeps them by the key of what they are made of."""

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from layer import HEX, Layer, pack, state_of, unpack


@dataclass(frozen=True)
class Step:
    """One layer: its name, what it is made of (`key` covers everything), and the function that changes the tree."""

    name: str
    key: str
    apply: Callable[[Path], None]


@dataclass
class Workshop:
    """The cache, and a tree that is filled only when a layer must really be built.

    The cache holds a record `STEP-KEY.json` for each layer and the blobs that the records name.
    """

    cache: Path
    tree: Path
    epoch: int
    inside: list[str] = field(default_factory=list)

    def layers(self, steps: Sequence[Step]) -> list[Layer]:
        """The layers of these steps, lowest first."""
        built: list[Layer] = []
        for step in steps:
            record = self.cache / f"{step.name}-{step.key}.json"
            built.append(self._load(record) if record.exists() else self._build(step, built, record))
        return built

    def _build(self, step: Step, below: Sequence[Layer], record: Path) -> Layer:
        started = time.monotonic()
        self._fill(below)
        before = state_of(self.tree)
        step.apply(self.tree)
        applied = time.monotonic()
        layer = pack(self.tree, before, self.cache, step.name, self.epoch)
        self.inside.append(layer.digest)
        self._store(layer, record)
        seconds = f"made in {applied - started:.1f} s, packed in {time.monotonic() - applied:.1f} s"
        print(f"{step.name}: {seconds}", file=sys.stderr, flush=True)
        return layer

    def _fill(self, below: Sequence[Layer]) -> None:
        wanted = [layer.digest for layer in below]
        if self.inside != wanted or not self.tree.exists():
            shutil.rmtree(self.tree, ignore_errors=True)
            self.tree.mkdir(mode=0o755)
            unpack(below, self.tree)
            self.inside = wanted

    def _load(self, record: Path) -> Layer:
        os.utime(record)
        fields = json.loads(record.read_text())
        return Layer(self.cache / fields.pop("blob"), **fields)

    def _store(self, layer: Layer, record: Path) -> None:
        fields = {"blob": layer.blob.name, "digest": layer.digest, "size": layer.size, "diff_id": layer.diff_id}
        new = record.with_suffix(".new")
        new.write_text(json.dumps({**fields, "comment": layer.comment}))
        os.replace(new, record)


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Hold the cache's lock: of two builds at once, the second finds what the first made."""
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def forget_old(cache: Path, days: int = 30) -> None:
    """Delete records that nobody asked for in so many days, and the blobs that no record names."""
    limit = time.time() - days * 86400
    records = list(cache.glob("*.json"))
    for record in records:
        if record.stat().st_mtime < limit:
            record.unlink()
    named = {json.loads(record.read_text())["blob"] for record in records if record.exists()}
    for blob in cache.iterdir():
        if len(blob.name) == HEX and blob.name not in named:
            blob.unlink()
