"""Tables as typed options: what each type accepts, and how errors name file and key."""

from __future__ import annotations

from typing import Any, Literal, Optional

import pytest
from attrs import field, frozen, validators

from bootc.config.tables import Table, merge
from bootc.config.typed import convert, defaults, defect, is_secret
from bootc.errors import ConfigError


@frozen
class Inner:
    level: int = 1


@frozen
class Options:
    text: str = "x"
    number: int = field(default=1, validator=validators.ge(0))
    flag: bool = False
    ratio: float = 0.5
    choice: Literal["a", "b", 3] = "a"
    names: tuple[str, ...] = ()
    choices: tuple[Literal["a", "b"], ...] = ()
    maybe: str | None = None
    perhaps: Optional[int] = None  # noqa: UP045
    two_words: str = ""
    inner: Inner = Inner()
    _private: int = 0
    computed: int = field(default=7, init=False)
    token: str = field(default="", validator=validators.max_len(3))


def made(**values: object) -> Options:
    """What the table `[backends.x]` with these keys gives."""
    return convert(Options, Table.of({key.replace("_", "-"): value for key, value in values.items()}, "f.toml"), PATH)


PATH = ("backends", "x")


@pytest.mark.parametrize(
    ("given", "options"),
    [
        pytest.param({}, Options(), id="nothing"),
        pytest.param({"text": ""}, Options(text=""), id="empty string"),
        pytest.param({"number": 5}, Options(number=5), id="integer"),
        pytest.param({"flag": True}, Options(flag=True), id="boolean"),
        pytest.param({"ratio": 2}, Options(ratio=2.0), id="integer as number"),
        pytest.param({"ratio": 2.5}, Options(ratio=2.5), id="number"),
        pytest.param({"choice": "b"}, Options(choice="b"), id="choice"),
        pytest.param({"choice": 3}, Options(choice=3), id="choice of integer"),
        pytest.param({"names": ["a", "b"]}, Options(names=("a", "b")), id="list"),
        pytest.param({"choices": ["b"]}, Options(choices=("b",)), id="list of choices"),
        pytest.param({"maybe": "y"}, Options(maybe="y"), id="optional"),
        pytest.param({"perhaps": 4}, Options(perhaps=4), id="typing.Optional"),
        pytest.param({"two_words": "y"}, Options(two_words="y"), id="dash for underscore"),
        pytest.param({"inner": {"level": 2}}, Options(inner=Inner(2)), id="table within"),
        pytest.param({"private": 2}, Options(private=2), id="alias"),
    ],
)
def test_accepted(given: dict[str, Any], options: Options) -> None:
    assert made(**given) == options


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"text": 1}, "f.toml: backends.x.text: must be a string", id="string"),
        pytest.param({"number": "1"}, "f.toml: backends.x.number: must be an integer", id="integer"),
        pytest.param({"number": True}, "f.toml: backends.x.number: must be an integer", id="bool is no integer"),
        pytest.param({"number": 1.0}, "f.toml: backends.x.number: must be an integer", id="float is no integer"),
        pytest.param({"flag": 1}, "f.toml: backends.x.flag: must be true or false", id="boolean"),
        pytest.param({"ratio": True}, "f.toml: backends.x.ratio: must be a number", id="number"),
        pytest.param({"ratio": float("nan")}, "f.toml: backends.x.ratio: must be a number", id="nan"),
        pytest.param({"ratio": float("inf")}, "f.toml: backends.x.ratio: must be a number", id="infinity"),
        pytest.param({"choice": "c"}, "f.toml: backends.x.choice: must be one of a, b, 3", id="choice"),
        pytest.param({"choice": 3.0}, "f.toml: backends.x.choice: must be one of a, b, 3", id="choice of other type"),
        pytest.param({"names": "a"}, "f.toml: backends.x.names: must be a list", id="list"),
        pytest.param({"names": ["a", 1]}, "f.toml: backends.x.names[1]: must be a string", id="list item"),
        pytest.param({"choices": ["z"]}, "f.toml: backends.x.choices[0]: must be one of a, b", id="list of choices"),
        pytest.param({"text": {"a": 1}}, "f.toml: backends.x.text: must be a string, not a table", id="table"),
        pytest.param({"inner": 1}, "f.toml: backends.x.inner: must be a table", id="no table"),
        pytest.param({"inner": {"lvl": 1}}, "f.toml: backends.x.inner.lvl: unknown key", id="unknown within"),
        pytest.param({"computed": 1}, "f.toml: backends.x.computed: unknown key", id="not settable"),
        pytest.param({"number": -1}, "f.toml: backends.x.number: 'number' must be >= 0: -1", id="validator"),
        pytest.param({"token": "hunter2"}, "f.toml: backends.x.token: not a valid value", id="secret is not shown"),
    ],
)
def test_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(**given)

    assert caught.value.message == message


def test_an_unknown_key_suggests_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError) as caught:
        convert(Options, Table.of({"two_words": "x"}, "f.toml"), PATH)

    assert (caught.value.message, caught.value.hint) == (
        "f.toml: backends.x.two_words: unknown key",
        "did you mean two-words?",
    )


def test_an_error_names_the_file_of_the_wrong_value_not_the_last_file() -> None:
    table = merge(Table.of({"number": "x"}, "first.toml"), Table.of({"text": "y"}, "second.toml"))

    with pytest.raises(ConfigError, match=r"^first.toml: backends\.x\.number"):
        convert(Options, table, PATH)


def test_defaults_list_every_key() -> None:
    assert defaults(Options, ("x",)) == {
        ("x", "text"): "x",
        ("x", "number"): 1,
        ("x", "flag"): False,
        ("x", "ratio"): 0.5,
        ("x", "choice"): "a",
        ("x", "names"): (),
        ("x", "choices"): (),
        ("x", "maybe"): None,
        ("x", "perhaps"): None,
        ("x", "two-words"): "",
        ("x", "inner", "level"): 1,
        ("x", "private"): 0,
        ("x", "token"): "",
    }


@frozen
class WithoutDefault:
    text: str


@frozen
class WithMapping:
    table: dict[str, str] = field(factory=dict)


@frozen
class WithUnion:
    value: int | str = 0


@frozen
class WithDefectWithin:
    inner: WithUnion = WithUnion()


@frozen
class WithUnknownType:
    value: Missing = None  # type: ignore[name-defined]  # noqa: F821


class NoAttrs:
    text: str = ""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param(Options, None, id="fine"),
        pytest.param(WithoutDefault, "missing 1 required positional argument", id="no default"),
        pytest.param(WithMapping, "cannot be configured", id="mapping"),
        pytest.param(WithUnion, "cannot be configured", id="union"),
        pytest.param(WithDefectWithin, "options class WithUnion", id="within"),
        pytest.param(WithUnknownType, "name 'Missing' is not defined", id="unknown type"),
        pytest.param(NoAttrs, "no attrs class", id="no attrs"),
        pytest.param(Options(), "no attrs class", id="instance"),
        pytest.param(None, "no attrs class", id="none"),
    ],
)
def test_a_class_that_cannot_hold_options_is_found_out(options: object, reason: str | None) -> None:
    found = defect(options)

    assert found is None if reason is None else reason in (found or "")


@pytest.mark.parametrize(
    ("key", "is_hidden"),
    [
        (("fetchers", "x", "password"), True),
        (("fetchers", "x", "API-Token"), True),
        (("fetchers", "x", "client-secret"), True),
        (("fetchers", "x", "credentials", "name"), True),
        (("fetchers", "x", "authfile"), False),
        (("bootc", "tries"), False),
    ],
)
def test_secrets_are_known_by_their_key(key: tuple[str, ...], is_hidden: bool) -> None:
    assert is_secret(key) is is_hidden
