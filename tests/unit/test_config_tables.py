"""Tables: how TOML files are put together, and what is kept of where values came from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootc.config.tables import Table, Value, dotted, files_in, merge, read
from bootc.errors import ConfigError

KEYS = st.sampled_from(["a", "b", "c"])
DOCUMENTS = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
TABLES = st.dictionaries(KEYS, DOCUMENTS, max_size=3)


def plain(table: Table) -> dict[str, Any]:
    """The table as TOML would give it."""
    return {key: plain(entry) if isinstance(entry, Table) else entry.value for key, entry in table.entries.items()}


def expected(base: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The rule, once more: tables by key, all else replaced."""
    merged = dict(base)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = expected(base[key], value) if both else value
    return merged


@given(TABLES, TABLES)
def test_the_later_value_wins_key_by_key(base: dict[str, Any], new: dict[str, Any]) -> None:
    merged = merge(Table.of(base, "base"), Table.of(new, "new"))

    assert plain(merged) == expected(base, new)


@given(TABLES, TABLES)
def test_every_value_keeps_the_file_that_gave_it(base: dict[str, Any], new: dict[str, Any]) -> None:
    merged = merge(Table.of(base, "base"), Table.of(new, "new"))
    given_by_new = {path for path, _ in Table.of(new, "new").leaves()}

    assert {path: value.source for path, value in merged.leaves()} == {
        path: "new" if path in given_by_new else "base" for path, _ in merged.leaves()
    }


@given(TABLES)
def test_merging_with_nothing_or_with_itself_changes_nothing(document: dict[str, Any]) -> None:
    table = Table.of(document, "file")

    assert dict(merge(table, Table({}, "none")).leaves()) == dict(table.leaves())
    assert dict(merge(Table(), table).leaves()) == dict(table.leaves())
    assert merge(table, table) == table


def test_lists_of_named_keys_are_put_together_and_name_both_files() -> None:
    base = Table.of({"install": {"kargs": ["a"], "other": ["a"]}}, "one.toml")
    new = Table.of({"install": {"kargs": ["b"], "other": ["b"]}}, "two.toml")

    merged = merge(base, new, {("install", "kargs")})

    assert dict(merged.leaves()) == {
        ("install", "kargs"): Value(["a", "b"], "one.toml, two.toml"),
        ("install", "other"): Value(["b"], "two.toml"),
    }


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"a = 1\nb = \n", r"not valid TOML: .*\(at line 2, column \d+\)", id="syntax"),
        pytest.param(b"a = 1\na = 2\n", r"not valid TOML: .*\(at line 2, column \d+\)", id="twice"),
        pytest.param(b"a = 1\nb = '\xff'\n", r"not UTF-8 \(at line 2\)", id="not UTF-8"),
        pytest.param(b"a = " + b"[" * 5000, "not valid TOML: .+", id="deep"),
        pytest.param(b"#" * (1 << 20) + b"\n", "larger than 1048576 bytes", id="huge"),
        pytest.param(b"a = 1" + b"0" * 5000, "not valid TOML: .+", id="huge number"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(data)

    with pytest.raises(ConfigError) as caught:
        read(path)

    assert caught.value.source == str(path)
    assert re.fullmatch(problem, caught.value.problem)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.toml").mkdir()

    with pytest.raises(ConfigError, match=r"x\.toml: not a regular file"):
        read(tmp_path / "x.toml")
    with pytest.raises(ConfigError, match="No such file or directory"):
        read(tmp_path / "missing.toml")


def test_a_fifo_does_not_block_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.toml")

    with pytest.raises(ConfigError, match="not a regular file"):
        read(tmp_path / "x.toml")


def test_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    for name in ("20-b.toml", "10-a.toml", ".hidden.toml", "note.txt", "x.toml~", ".toml"):
        (tmp_path / name).write_text("")

    assert [path.name for path in files_in(tmp_path)] == ["10-a.toml", "20-b.toml"]
    assert files_in(tmp_path / "nothing") == ()


def test_a_value_in_place_of_a_table_is_named() -> None:
    table = Table.of({"backends": {"x": 3}}, "file")

    with pytest.raises(ConfigError, match=r"file: backends\.x: must be a table"):
        table.table("backends", "x")


def test_odd_keys_are_quoted() -> None:
    assert dotted(("a", "b-c", "d e", 'f"')) == 'a.b-c."d e"."f\\""'


def test_an_entry_can_be_left_out() -> None:
    table = Table.of({"a": {"b": 1, "c": 2}, "d": 3}, "file")

    assert plain(table.without("a", "b")) == {"a": {"c": 2}, "d": 3}
    assert plain(table.without("a")) == {"d": 3}
    assert plain(table.without("x", "y")) == {"a": {"b": 1, "c": 2}, "d": 3}
