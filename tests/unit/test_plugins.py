"""Plugins as distributions bring them: what is loaded, what is refused and why, and how one is chosen."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path, PurePosixPath
from textwrap import dedent

import pytest

from bootc.config import Config
from bootc.durable import DirectoryVolume
from bootc.errors import ConfigError, PluginError, UnavailablePluginError, UnknownPluginError
from bootc.hookspec import Hooks
from bootc.machine import Machine
from bootc.plugins import Description, PluginFailure, Plugins
from bootc.plugins.loading import HOOKS

HEAD = """
from pathlib import PurePosixPath
from attrs import frozen
from bootc.hookspec import *
from bootc.hookspec import hookimpl
from bootc.bootloader import Bootloader

def fetcher(name, transports=("registry",), **more):
    return FetcherPlugin(name=name, summary="fetches", options=NoOptions, open=lambda c, o: None,
                         transports=frozenset(transports), **more)

def backend(name, **more):
    more.setdefault("probe", lambda volume: False)
    return BackendPlugin(name=name, summary="stores", options=NoOptions, open=lambda c, o: None,
                         state=PurePosixPath("x/bootc"), **more)

def bootloader(name, **more):
    more.setdefault("probe", lambda machine: False)
    return BootloaderPlugin(name=name, summary="boots", options=NoOptions, open=lambda c, o: None, **more)
"""


class Site:
    """A directory of installed distributions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.modules: list[str] = []

    def install(
        self, distribution: str, source: str, entry: str | None = None, target: str = "", *, head: str = HEAD
    ) -> None:
        """A distribution with one module and one entry point."""
        module = f"test_plugin_{distribution.replace('-', '_')}"
        self.modules.append(module)
        (self.path / f"{module}.py").write_text(head + dedent(source))
        info = self.path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[bootc]\n{entry or distribution} = {module}{target}\n")

    def entries(self) -> list[EntryPoint]:
        """The entry points of these distributions alone."""
        found: list[Distribution] = sorted(distributions(path=[str(self.path)]), key=lambda dist: dist.metadata["Name"])
        return [entry for dist in found for entry in dist.entry_points]

    def load(self) -> Plugins:
        """What the core sees."""
        return Plugins.load(self.entries())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    made = Site(tmp_path)
    yield made
    for module in made.modules:
        sys.modules.pop(module, None)


GOOD = """
@hookimpl
def bootc_fetchers():
    return [fetcher("good", capabilities=frozenset({Capability.PEEK}))]

@hookimpl
def bootc_storage_backends():
    return (backend("good"),)
"""


def test_a_plugin_is_found_through_its_entry_point(site: Site) -> None:
    site.install("good", GOOD)
    plugins = site.load()

    assert plugins.failures == ()
    assert plugins.describe() == (
        Description("backend", "good", "stores", "good", "1.2", (), None),
        Description("fetcher", "good", "fetches", "good", "1.2", ("peek",), None),
    )
    assert (list(plugins.fetchers()), list(plugins.backends()), list(plugins.bootloaders())) == (["good"], ["good"], [])


VARYING = """
@frozen
class Options:
    slots: int = 2

def more(options):
    if options.slots > 8: raise ValueError("too many")
    return frozenset({Capability.PIN} if options.slots > 2 else ())

@hookimpl
def bootc_storage_backends():
    more_of = dict(capabilities=frozenset({Capability.SPARE}), more_capabilities=more)
    return [BackendPlugin(name="slots", summary="stores", options=Options, open=lambda c, o: None,
                          probe=lambda volume: False, state=PurePosixPath("x/bootc"), **more_of)]
"""


@pytest.mark.parametrize(
    ("table", "capabilities"),
    [
        (None, ("spare",)),
        ("slots = 2", ("spare",)),
        ("slots = 3", ("pin", "spare")),
        ("slots = 'many'", ("spare",)),
        ("slots = 9", ("spare",)),
    ],
    ids=["no configuration", "not enough", "enough", "wrong configuration", "the plugin fails"],
)
def test_capabilities_are_those_with_the_configured_options(
    site: Site, table: str | None, capabilities: tuple[str, ...]
) -> None:
    site.install("slots", VARYING)
    file = site.path / "config.toml"
    file.write_text(f"[backends.slots]\n{table}\n")
    config = Config.load(site.path, file) if table else None
    assert [item.capabilities for item in site.load().describe(config)] == [capabilities]


def test_the_group_of_this_python_is_searched(site: Site) -> None:
    site.install("good", GOOD)

    assert "good" in Plugins.load().backends()


def test_an_instance_can_be_a_plugin(site: Site) -> None:
    site.install(
        "thing",
        """
        class Thing:
            @hookimpl
            def bootc_fetchers(self):
                return [fetcher("thing")]
        THING = Thing()
        """,
        target=":THING",
    )

    assert list(site.load().fetchers()) == ["thing"]


BROKEN = {
    "raises on import": ("raise ValueError('boom')", "ValueError: boom"),
    "exits on import": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "syntax": ("def broken(:\n    pass", "SyntaxError: "),
    "missing library": ("import does_not_exist", "ModuleNotFoundError: No module named 'does_not_exist'"),
    "no hooks": ("x = 1", "has no hooks"),
    "misspelt hook": (GOOD + "\n@hookimpl\ndef bootc_fetcher(): return []", "unknown hook 'bootc_fetcher'"),
    "hook without mark": (GOOD + "\ndef bootc_prepare(image): pass", "bootc_prepare is not marked with hookimpl"),
    "wrong argument": (GOOD + "\n@hookimpl\ndef bootc_prepare(picture): pass", "picture"),
    "answers nothing": ("@hookimpl\ndef bootc_fetchers(): pass", "bootc_fetchers: answered None, not a sequence of"),
    "answers a text": ("@hookimpl\ndef bootc_fetchers(): return 'x'", "bootc_fetchers: answered 'x', not a sequence"),
    "answers one record": ("@hookimpl\ndef bootc_fetchers(): return fetcher('x')", "not a sequence of FetcherPlugin"),
    "answers another record": (
        "@hookimpl\ndef bootc_fetchers(): return [backend('x')]",
        "where a FetcherPlugin belongs",
    ),
    "raises when asked": ("@hookimpl\ndef bootc_fetchers(): return 1 / 0", "ZeroDivisionError: division by zero"),
    "exits when asked": ("@hookimpl\ndef bootc_fetchers(): raise SystemExit", "bootc_fetchers: SystemExit"),
    "bad name": ("@hookimpl\ndef bootc_fetchers(): return [fetcher('A b')]", "'A b' is no name"),
    "name is no text": ("@hookimpl\ndef bootc_fetchers(): return [fetcher(None)]", "None is no name"),
    "transports is a text": (
        "@hookimpl\ndef bootc_fetchers():\n"
        "    return [FetcherPlugin(name='x', summary='', options=NoOptions, open=print, transports='registry')]",
        "x: transports is no frozenset of names",
    ),
    "no transports": ("@hookimpl\ndef bootc_fetchers(): return [fetcher('x', ())]", "x: transports is no frozenset"),
    "capability by text": (
        "@hookimpl\ndef bootc_fetchers(): return [fetcher('x', capabilities=frozenset({'peek'}))]",
        "x: capabilities is no frozenset of Capability",
    ),
    "state leaves the sysroot": (
        "@hookimpl\ndef bootc_storage_backends():\n"
        "    return [BackendPlugin(name='x', summary='', options=NoOptions, open=print, probe=bool,\n"
        "                          state=PurePosixPath('../x'))]",
        "x: state is no path below the sysroot",
    ),
    "probe cannot be called": (
        "@hookimpl\ndef bootc_bootloaders(): return [bootloader('x', probe=True)]",
        "x: open, unavailable, more_capabilities or probe cannot be called",
    ),
    "options without default": (
        "@frozen\nclass Options:\n    size: int\n@hookimpl\ndef bootc_fetchers():\n"
        "    return [FetcherPlugin(name='x', summary='', options=Options, open=print, transports=frozenset('a'))]",
        "x: options class Options: ",
    ),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_reported_and_harms_no_other(site: Site, source: str, reason: str) -> None:
    site.install("a-broken", source)
    site.install("good", GOOD)
    plugins = site.load()

    assert [(failure.name, failure.distribution, failure.version) for failure in plugins.failures] == [
        ("a-broken", "a-broken", "1.2")
    ]
    assert reason in plugins.failures[0].reason
    assert [item.distribution for item in plugins.describe()] == ["good", "good"]


def test_a_class_is_no_plugin(site: Site) -> None:
    site.install("x", "class X:\n    @hookimpl\n    def bootc_fetchers(self): return []", target=":X")

    assert "is a class" in site.load().failures[0].reason


def test_an_entry_point_that_names_nothing(site: Site) -> None:
    site.install("x", GOOD, target=":MISSING")

    assert site.load().failures[0].reason.startswith("AttributeError: ")


def test_one_bad_answer_costs_all_records_of_a_plugin_but_no_other(site: Site) -> None:
    site.install("x", GOOD + "\n@hookimpl\ndef bootc_bootloaders(): return 3")
    plugins = site.load()

    assert (plugins.describe(), len(plugins.failures)) == ((), 1)


def test_an_entry_point_name_used_twice_loads_neither(site: Site) -> None:
    site.install("honest", GOOD, entry="ostree")
    site.install("rival", GOOD, entry="ostree")
    plugins = site.load()

    assert plugins.failures == (
        PluginFailure(
            "ostree",
            "honest, rival",
            "1.2, 1.2",
            "the name is used by honest 1.2 (test_plugin_honest) and rival 1.2 (test_plugin_rival); none of them is "
            "loaded",
        ),
    )
    assert plugins.offers == ()
    assert "test_plugin_rival" not in sys.modules


def test_a_record_name_used_twice_is_refused_for_both(site: Site) -> None:
    site.install("honest", GOOD)
    site.install("rival", "@hookimpl\ndef bootc_storage_backends(): return [backend('good'), backend('other')]")
    plugins = site.load()

    reason = (
        "backend 'good' is offered by plugin honest (honest 1.2) and plugin rival (rival 1.2); none of them is used"
    )
    assert plugins.failures == (
        PluginFailure("honest", "honest", "1.2", reason, "good"),
        PluginFailure("rival", "rival", "1.2", reason, "good"),
    )
    assert (list(plugins.backends()), list(plugins.fetchers())) == (["other"], ["good"])


def test_the_same_name_may_serve_two_kinds(site: Site) -> None:
    site.install("good", GOOD)

    assert site.load().failures == ()


def test_hooks_are_those_of_the_specification() -> None:
    assert set(HOOKS) == {name for name in dir(Hooks) if name.startswith("bootc_")}
    assert len(HOOKS) == 9


def test_an_entry_point_without_distribution_is_unknown() -> None:
    plugins = Plugins.load([EntryPoint("x", "does_not_exist", "bootc")])

    assert (plugins.failures[0].distribution, plugins.failures[0].version) == ("unknown", "unknown")


# ---------------------------------------------------------------- choosing


FETCHERS = """
@hookimpl
def bootc_fetchers():
    return [
        fetcher("slow", ("registry", "oci"), priority=1),
        fetcher("fast", ("registry",), priority=10),
        fetcher("gone", ("registry", "dir"), priority=99, unavailable=lambda: "its library is missing"),
        fetcher("left", ("twins",)),
        fetcher("right", ("twins",)),
    ]
"""


@pytest.mark.parametrize(
    ("transport", "preferred", "name"),
    [
        pytest.param("registry", None, "fast", id="highest priority that works"),
        pytest.param("registry", "slow", "slow", id="preferred"),
        pytest.param("oci", "fast", "slow", id="preference serves other transports"),
        pytest.param("twins", "right", "right", id="preference decides between equals"),
    ],
)
def test_a_fetcher_is_chosen_by_transport(site: Site, transport: str, preferred: str | None, name: str) -> None:
    site.install("fetchers", FETCHERS)

    assert site.load().fetcher_for(transport, preferred).name == name


def test_equal_fetchers_need_a_preference(site: Site) -> None:
    site.install("fetchers", FETCHERS)

    with pytest.raises(ConfigError, match="left and right both serve twins"):
        site.load().fetcher_for("twins")


def test_an_unavailable_fetcher_says_why(site: Site) -> None:
    site.install("fetchers", FETCHERS)
    plugins = site.load()

    for transport, preferred in (("registry", "gone"), ("dir", None)):
        with pytest.raises(UnavailablePluginError, match="fetcher 'gone' is not available: its library is missing"):
            plugins.fetcher_for(transport, preferred)


def test_unknown_names_list_the_known_ones(site: Site) -> None:
    site.install("fetchers", FETCHERS)
    plugins = site.load()

    with pytest.raises(UnknownPluginError, match=r"^unknown fetcher for transport 'ftp'$") as caught:
        plugins.fetcher_for("ftp")
    assert caught.value.hint == "known: dir, oci, registry, twins"
    with pytest.raises(UnknownPluginError, match="unknown fetcher 'x'"):
        plugins.fetcher_for("registry", "x")
    with pytest.raises(UnknownPluginError, match="unknown backend 'x'"):
        plugins.backend("x")
    with pytest.raises(UnknownPluginError, match="unknown bootloader 'x'"):
        plugins.bootloader("x")


def test_an_unknown_name_shows_the_failure_of_its_plugin(site: Site) -> None:
    site.install("btrfs", "import does_not_exist")
    site.install("honest", GOOD)
    site.install("rival", GOOD)
    plugins = site.load()

    with pytest.raises(UnknownPluginError, match=r"plugin btrfs \(btrfs 1.2\): ModuleNotFoundError"):
        plugins.backend("btrfs")
    with pytest.raises(UnknownPluginError, match="is offered by plugin honest"):
        plugins.backend("good")
    with pytest.raises(UnknownPluginError, match="perhaps from a plugin that failed to load: btrfs, honest, rival"):
        plugins.backend("other")


def test_a_check_of_availability_that_raises_is_a_reason(site: Site) -> None:
    site.install("x", "@hookimpl\ndef bootc_storage_backends(): return [backend('x', unavailable=lambda: 1 / 0)]")
    plugins = site.load()

    assert plugins.describe()[0].unavailable == "its own check failed: ZeroDivisionError: division by zero"
    with pytest.raises(UnavailablePluginError, match="its own check failed"):
        plugins.backend("x")


def test_probes_tell_whose_a_sysroot_is(site: Site, tmp_path: Path) -> None:
    site.install(
        "x",
        """
        @hookimpl
        def bootc_storage_backends():
            return [backend("yes", probe=lambda volume: volume.is_directory(PurePosixPath("mine"))), backend("no")]

        @hookimpl
        def bootc_bootloaders():
            return [bootloader("yes", probe=lambda machine: machine.is_booted is False), bootloader("no")]
        """,
    )
    volume = DirectoryVolume(tmp_path)
    (tmp_path / "mine").mkdir()
    plugins = site.load()

    assert [plugin.name for plugin in plugins.probe_backends(volume)] == ["yes"]
    machine = Machine(volume, PurePosixPath("x"))
    assert [plugin.name for plugin in plugins.probe_bootloaders(machine)] == ["yes"]


def test_a_probe_that_raises_names_its_plugin(site: Site, tmp_path: Path) -> None:
    site.install("x", "@hookimpl\ndef bootc_storage_backends(): return [backend('x', probe=lambda v: 1 / 0)]")

    with pytest.raises(PluginError, match="plugin x: probe: ZeroDivisionError"):
        site.load().probe_backends(DirectoryVolume(tmp_path))


# ---------------------------------------------------------------- configuration and commands


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("[backends.good]\nx = 1", "backends.good.x: unknown key", id="unknown key"),
        pytest.param("[backends.nope]", "backends.nope: there is no backend 'nope'", id="unknown plugin"),
        pytest.param("[bootloaders.good]", "bootloaders.good: there is no bootloader 'good'", id="another kind"),
        pytest.param("[backends.btrfs]", "backends.btrfs: plugin btrfs (btrfs 1.2): ModuleNotFoundError", id="failed"),
    ],
)
def test_every_table_must_have_its_plugin(site: Site, tmp_path: Path, text: str, problem: str) -> None:
    site.install("good", GOOD)
    site.install("btrfs", "import does_not_exist")
    file = tmp_path / "config.toml"
    file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        site.load().check_configuration(Config.load(tmp_path, file))

    assert caught.value.message.startswith(f"{file}: {problem}")


def test_tables_that_fit_are_accepted(site: Site, tmp_path: Path) -> None:
    site.install("good", GOOD)
    file = tmp_path / "config.toml"
    file.write_text("[backends.good]\n[fetchers.good]\n")
    plugins = site.load()

    plugins.check_configuration(Config.load(tmp_path, file))

    assert sorted((record.kind, record.name) for record in plugins.configurable()) == [
        ("backend", "good"),
        ("fetcher", "good"),
    ]


def test_commands_are_offered_without_being_imported(site: Site) -> None:
    site.install("x", "@hookimpl\ndef bootc_commands(): return [CommandOffer('hello', 'greets', lambda: 1 / 0)]")
    plugins = site.load()

    assert list(plugins.commands()) == ["hello"]
    assert plugins.describe() == (Description("command", "hello", "greets", "x", "1.2", (), None),)
