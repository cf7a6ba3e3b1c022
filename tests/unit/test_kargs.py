"""kargs.d of an image."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pytest

from bootc import kargs
from bootc.errors import ConfigError
from bootc.platform import Platform
from bootc.storage import Tree

X86 = Platform("x86_64", "amd64", (), "x86_64", "", "x64")


class FilesTree(Tree):
    """A tree of a few files."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def open(self, path: PurePosixPath) -> BinaryIO:
        if str(path) not in self._files:
            raise FileNotFoundError(path)
        return io.BytesIO(self._files[str(path)])

    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        found = {PurePosixPath(name) for name in self._files}
        return tuple(sorted({other.relative_to(path).parts[0] for other in found if path in other.parents}))

    def directory(self) -> AbstractContextManager[Path]:
        raise NotImplementedError


def _read(**files: str) -> tuple[str, ...]:
    named = {f"usr/lib/bootc/kargs.d/{name.replace('_', '-')}.toml": text.encode() for name, text in files.items()}
    return kargs.read(FilesTree(named), X86)


def test_files_are_read_in_order_of_their_names_and_strings_may_hold_several_arguments() -> None:
    assert _read(b='kargs = ["c=1 d"]', a='kargs = ["a", "b"]') == ("a", "b", "c=1", "d")


def test_quoted_values_keep_their_spaces() -> None:
    assert _read(a="""kargs = ['dyndbg="file x +p" quiet']""") == ('dyndbg="file x +p"', "quiet")


def test_other_architectures_are_left_out_and_other_files_ignored() -> None:
    other = 'kargs = ["no"]\nmatch-architectures = ["aarch64"]'
    ours = 'kargs = ["yes"]\nmatch-architectures = ["x86_64", "aarch64"]'
    assert _read(a=other, b=ours) == ("yes",)
    assert kargs.read(FilesTree({"usr/lib/bootc/kargs.d/a.conf": b"junk", "usr/x": b""}), X86) == ()


@pytest.mark.parametrize(
    "text",
    ["kargs = 3", "kargs = [3]", "other = []", "[section]", "kargs = [", 'kargs = ["a\\nb"]', 'kargs = ["a\\u0000"]'],
)
def test_anything_else_is_refused_with_the_name_of_the_file(text: str) -> None:
    with pytest.raises(ConfigError, match=r"usr/lib/bootc/kargs\.d/a\.toml"):
        _read(a=text)


def test_bytes_that_are_no_utf_8_are_refused() -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        kargs.read(FilesTree({"usr/lib/bootc/kargs.d/a.toml": b'kargs = ["\xff"]'}), X86)
