"""Fuzzes one target for a time: guided by coverage where atheris is installed, else by chance alone.

usage: python -m tests.fuzz.run TARGET SECONDS      1 if something was found; the input is kept
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

INSTRUMENTED = ["bootc", "bootc_containers", "bootc_registry"]
LONGEST = 20
"""seconds for one input"""
MEMORY = 1024
"""MiB"""


def guided(atheris: Any, name: str, seconds: int) -> NoReturn:
    """libFuzzer's loop. It does not come back: it ends the process, and has written what it found."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz import targets
    from tests.fuzz.mutations import LIMIT, changed, words_of

    target = targets.TARGETS[name]
    words = words_of(target.samples)

    def mutated(data: bytes, size: int, seed: int) -> bytes:
        chance = Random(seed)
        other = atheris.Mutate(data, size) if chance.random() < 0.3 else changed(data, chance, words)
        return target.mend(other)[:size]

    with tempfile.TemporaryDirectory(prefix="bootc-fuzz-") as corpus:
        for number, sample in enumerate(target.samples):
            Path(corpus, str(number)).write_bytes(sample)
        limits = [f"-max_total_time={seconds}", f"-timeout={LONGEST}", f"-rss_limit_mb={MEMORY}", f"-max_len={LIMIT}"]
        options = [f"-artifact_prefix={_folder(name)}/", "-verbosity=0", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *limits, *options, corpus], target.check, custom_mutator=mutated)
        atheris.Fuzz()
        raise SystemExit(1)


def unguided(name: str, target: Target, seconds: int) -> int:
    """The number of inputs tried. The first finding is written, and raised."""
    from tests.fuzz.mutations import changed, words_of

    chance, words, pool, count = Random(), words_of(target.samples), list(target.samples), 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        data = target.mend(changed(chance.choice(pool), chance, words))
        pool = [*pool[-200:], data] if chance.random() < 0.1 else pool
        count += 1
        try:
            target.check(data)
        except BaseException:
            _folder(name).joinpath(f"crash-{hashlib.sha1(data, usedforsecurity=False).hexdigest()}").write_bytes(data)
            raise
    return count


def _folder(name: str) -> Path:
    from tests.fuzz.targets import FOUND

    folder = FOUND / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    """Choose the engine before anything of ours is imported: what is imported before is not instrumented."""
    name, seconds = sys.argv[1], int(sys.argv[2])
    if find_spec("atheris"):
        guided(import_module("atheris"), name, seconds)
    from tests.fuzz.targets import TARGETS

    print(f"{name}: {unguided(name, TARGETS[name], seconds)} inputs, by chance (atheris is not installed)")


if __name__ == "__main__":
    main()
