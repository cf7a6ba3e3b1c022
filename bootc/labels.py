"""SELinux labels of files, from the image's own policy: file_contexts(5), matched as libselinux does (selabel_file(5)).

Of all lines that match a path the last one counts, except that a path written without special characters goes before
every pattern. Lines are kept under the literal text that their patterns begin with, so that a look-up tries few.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from attrs import define, field, frozen

from bootc import pcre
from bootc.errors import ConfigError

_HOMES = ("etc/selinux", "usr/etc/selinux")
_DEFAULT_TYPE = "targeted"
_KINDS = {
    "-b": stat.S_IFBLK,
    "-c": stat.S_IFCHR,
    "-d": stat.S_IFDIR,
    "-p": stat.S_IFIFO,
    "-l": stat.S_IFLNK,
    "-s": stat.S_IFSOCK,
    "--": stat.S_IFREG,
}
_NO_LABEL = "<<none>>"


@frozen
class Spec:
    """One line: a pattern over whole paths, for one kind of file (S_IF…) or for all (0)."""

    source: str
    line: int
    order: int
    regex: str
    kind: int
    context: str


@define
class Policy:
    """The file contexts of one policy. Look-ups from several threads are safe; they only repeat some work."""

    name: str
    """SELINUXTYPE: `targeted`, `default`, …"""
    _exact: dict[str, list[Spec]]
    _patterns: dict[str, list[Spec]]
    """literal beginning, specs that begin so, the last line first"""
    _substitutions: tuple[tuple[tuple[str, str], ...], ...]
    _lengths: list[int] = field(init=False)
    _compiled: dict[tuple[str, int], _Choice] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._lengths = sorted({len(prefix) for prefix in self._patterns})

    @classmethod
    def load(cls, read: Callable[[str], bytes | None]) -> Policy | None:
        """The policy that the image selects; None if it has none.

        `read` gives a file of the image, or None: `lambda path: tree.read_optional(PurePosixPath(path))`.
        Raises ConfigError for a line that libselinux would not load either.
        """
        for home in _HOMES:
            configuration = read(f"{home}/config")
            if configuration is None:
                continue
            name = _policy_type(configuration.decode(errors="replace"), f"{home}/config")
            base = f"{home}/{name}/contexts/files/file_contexts"
            if (main := read(base)) is None:
                return None
            files = {base: main, **{f"{base}.{part}": read(f"{base}.{part}") or b"" for part in ("homedirs", "local")}}
            exact, patterns = _sorted(_specs(files))
            substitutions = (_pairs(read(f"{base}.subs") or b""), _pairs(read(f"{base}.subs_dist") or b""))
            return cls(name, exact, patterns, substitutions)
        return None

    def label(self, path: str, mode: int) -> str | None:
        """The context of an absolute path of the image; None: it gets no label.

        `mode` is st_mode; without a file type in it any kind will do. Raises ConfigError for a pattern that cannot be
        compiled.
        """
        key = self._substituted(re.sub("//+", "/", path).rstrip("/") or "/")
        kind = stat.S_IFMT(mode)
        found = self._exact_spec(key, kind) or self._last_match(key, kind)
        return None if found is None or found.context == _NO_LABEL else found.context

    def _exact_spec(self, key: str, kind: int) -> Spec | None:
        return next((spec for spec in self._exact.get(key, ()) if _is_for(spec, kind)), None)

    def _last_match(self, key: str, kind: int) -> Spec | None:
        best: Spec | None = None
        data = os.fsencode(key)  # patterns see bytes, as they do in libselinux
        for length in self._lengths[: bisect(self._lengths, len(key))]:
            prefix = key[:length]
            if prefix not in self._patterns:
                continue
            choice = self._choice(prefix, kind)
            if choice.newest > (best.order if best else -1):
                found = choice.match(data)
                if found is not None and (best is None or found.order > best.order):
                    best = found
        return best

    def _choice(self, prefix: str, kind: int) -> _Choice:
        if (prefix, kind) not in self._compiled:
            specs = [spec for spec in self._patterns[prefix] if _is_for(spec, kind)]
            self._compiled[prefix, kind] = _Choice.of(specs, prefix)
        return self._compiled[prefix, kind]

    def _substituted(self, key: str) -> str:
        for pairs in self._substitutions:
            for source, target in pairs:
                rest = key[len(source) :]
                if key.startswith(source) and (not rest or rest.startswith("/")):
                    key = rest if target == "/" and rest else target + rest
                    break
        return key


@frozen
class _Choice:
    """Patterns as one regular expression, the last line first: the first alternative that fits is the answer."""

    specs: tuple[Spec, ...]
    """the spec of each alternative, which is one group"""
    expression: re.Pattern[bytes]
    start: int
    """where in a path the rest begins that the alternatives are for"""

    @classmethod
    def of(cls, specs: list[Spec], prefix: str) -> _Choice:
        # Each alternative has its own end, so that the group that was closed last is the one that matched.
        alternatives = [f"({_rest(spec)}$)" for spec in specs]
        try:
            expression = re.compile("|".join(alternatives or ["(?!)"]).encode(), re.DOTALL)
        except re.error:
            for spec, alternative in zip(specs, alternatives, strict=True):
                _require_valid(spec, alternative)
            raise
        return cls(tuple(specs), expression, len(prefix))

    @property
    def newest(self) -> int:
        """Order of the first spec, the last of the lines; -1 if there is none."""
        return self.specs[0].order if self.specs else -1

    def match(self, key: bytes) -> Spec | None:
        """The last line that matches a path that has the literal beginning."""
        found = self.expression.match(key, self.start)
        return None if found is None or found.lastindex is None else self.specs[found.lastindex - 1]


def _policy_type(text: str, source: str) -> str:
    name = _DEFAULT_TYPE
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and key.upper() == "SELINUXTYPE":
            name = value.strip()
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII) or name in (".", ".."):
        raise ConfigError(source, "SELINUXTYPE", f"{name!r} cannot be the name of a policy")
    return name


def _specs(files: dict[str, bytes]) -> Iterator[Spec]:
    order = itertools.count()
    for source, data in files.items():
        for number, line in enumerate(data.split(b"\n"), 1):
            fields = line.split()
            if not fields or fields[0].startswith(b"#"):
                continue
            try:
                regex, *middle, context = (item.decode("ascii") for item in fields[:3])
                kind = _KINDS[middle[0]] if middle else 0
            except (ValueError, KeyError) as error:
                raise ConfigError(source, f"line {number}", "not a pattern, a kind of file and a context") from error
            yield Spec(source, number, next(order), regex, kind, context)


def _sorted(specs: Iterable[Spec]) -> tuple[dict[str, list[Spec]], dict[str, list[Spec]]]:
    """The last line first: by path for those that are plain paths, by literal beginning for the others."""
    exact: dict[str, list[Spec]] = defaultdict(list)
    patterns: dict[str, list[Spec]] = defaultdict(list)
    for spec in reversed(list(specs)):
        if len(pcre.alternatives(spec.regex)) > 1:
            patterns[""].append(spec)
            continue
        beginning, end = pcre.beginning(spec.regex)
        (exact if end == len(spec.regex) else patterns)[beginning].append(spec)
    return dict(exact), dict(patterns)


def _pairs(data: bytes) -> tuple[tuple[str, str], ...]:
    """Prefixes and what to take for them; of several that fit libselinux takes the last one in the file."""
    lines = (os.fsdecode(line).split() for line in data.split(b"\n"))
    return tuple((line[0], line[1]) for line in lines if len(line) > 1 and not line[0].startswith("#"))[::-1]


def _is_for(spec: Spec, kind: int) -> bool:
    return kind in (0, spec.kind) or spec.kind == 0


def _rest(spec: Spec) -> str:
    """What follows the literal beginning, for `re`. Raises ConfigError."""
    parts = pcre.alternatives(spec.regex)
    try:
        return _loose(parts) if len(parts) > 1 else pcre.translate(spec.regex[pcre.beginning(spec.regex)[1] :])
    except ValueError as error:
        raise _unusable(spec, error) from error


def _require_valid(spec: Spec, expression: str) -> None:
    try:
        re.compile(expression)
    except re.error as error:
        raise _unusable(spec, error) from error


def _unusable(spec: Spec, error: Exception) -> ConfigError:
    return ConfigError(spec.source, f"line {spec.line}", f"pattern {spec.regex}: {error}")


def _loose(parts: list[str]) -> str:
    """`a|b` means `^a` or `b$` to libselinux, and only below the directory with which the pattern begins."""
    first, *middle, last = map(pcre.translate, parts)
    either = "|".join([f"(?:{first}).*", *(f".*(?:{part}).*" for part in middle), f".*(?:{last})"])
    stem = re.match(r"/[^/.^$?*+|\[({]*(?=/)", parts[0])
    return f"(?={re.escape(stem[0])}/)(?:{either})" if stem else f"(?:{either})"
