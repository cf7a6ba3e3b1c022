"""The configuration of a command: which files count, in which order, and what `bootc config` lists."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from bootc import platform
from bootc.config import Config, ConfigValue, InstallSettings, Section, Settings, TrustSettings
from bootc.config.install import FilesystemSettings, RootFilesystem
from bootc.errors import ConfigError

DIRECTORIES = ("usr/lib/bootc/config.d", "etc/bootc/config.d", "run/bootc/config.d")


@frozen
class RegistryOptions:
    mirrors: tuple[str, ...] = ()
    token: str = ""
    retries: int = 5


@frozen
class Plugin:
    name: str
    options: type[RegistryOptions] = RegistryOptions
    kind: ClassVar[str] = "fetcher"


REGISTRY = Plugin("registry")


def write(root: Path, path: str, text: str) -> str:
    """A file below the root; its path as sources name it."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return str(file)


def test_without_files_everything_is_the_default(tmp_path: Path) -> None:
    config = Config.load(tmp_path)

    assert (config.settings, config.install, config.options(REGISTRY)) == (
        Settings(),
        InstallSettings(),
        RegistryOptions(),
    )


def test_what_is_wanted_of_images_is_configured_on_purpose(tmp_path: Path) -> None:
    assert Config.load(tmp_path).trust == TrustSettings(downgrade_guard=False, version_order=None)
    source = write(tmp_path, "etc/bootc/config.toml", "[trust]\ndowngrade-guard = true\nversion-order = 'uapi'\n")
    config = Config.load(tmp_path)
    assert config.trust == TrustSettings(downgrade_guard=True, version_order="uapi")
    assert ConfigValue("trust.downgrade-guard", True, source) in config.values()
    for text in ("downgrade-guard = 'yes'", "version-order = 'debian'", "downgrade = true"):
        write(tmp_path, "etc/bootc/config.toml", f"[trust]\n{text}\n")
        with pytest.raises(ConfigError, match="trust"):
            Config.load(tmp_path)


def test_later_places_win_key_by_key(tmp_path: Path) -> None:
    places = ["usr/lib/bootc/config.d/50-x.toml", "etc/bootc/config.toml", "etc/bootc/config.d/10-x.toml"]
    places.append("run/bootc/config.d/00-x.toml")
    for number, place in enumerate(places):
        write(tmp_path, place, f"[fetchers.registry]\nretries = {number}\n[bootc]\nparallel = {number + 1}\n")
    write(tmp_path, places[0], '[bootc]\nbackend = "vendor"\nparallel = 9')

    config = Config.load(tmp_path)

    assert config.settings == Settings(backend="vendor", parallel=4)
    assert config.options(REGISTRY) == RegistryOptions(retries=3)


def test_a_drop_in_does_not_hide_one_of_the_same_name_in_an_earlier_directory(tmp_path: Path) -> None:
    write(tmp_path, "usr/lib/bootc/config.d/a.toml", '[bootc]\nbackend = "x"')
    write(tmp_path, "etc/bootc/config.d/a.toml", "[bootc]\nparallel = 1")

    assert Config.load(tmp_path).settings == Settings(backend="x", parallel=1)


def test_the_command_line_wins_over_all_files(tmp_path: Path) -> None:
    write(tmp_path, "run/bootc/config.d/a.toml", '[bootc]\nbackend = "x"\nfetcher = "y"')

    config = Config.load(tmp_path, overrides={"bootc.backend": "z", "bootc.fetcher": None})

    assert config.settings == Settings(backend="z", fetcher="y")
    assert ConfigValue("bootc.backend", "z", "command line") in config.values()


def test_a_given_file_replaces_all_others_but_not_the_image_s_install_configuration(tmp_path: Path) -> None:
    write(tmp_path, "etc/bootc/config.toml", '[bootc]\nbackend = "x"')
    write(tmp_path, "usr/lib/bootc/install/00.toml", '[install]\nstateroot = "image"')
    write(tmp_path, "mine.toml", "[bootc]\nparallel = 1")

    config = Config.load(tmp_path, tmp_path / "mine.toml")

    assert (config.settings, config.install.stateroot) == (Settings(parallel=1), "image")


def test_a_given_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.toml: No such file or directory"):
        Config.load(tmp_path, tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("[bootk]\nx = 1", "bootk: unknown table", id="unknown table"),
        pytest.param("backend = 'x'", "backend: unknown table", id="key without table"),
        pytest.param("bootc = 1", "bootc: must be a table", id="table expected"),
        pytest.param("backends = 1", "backends: must be a table", id="plugin tables expected"),
        pytest.param("backends.x = 1", "backends.x: must be a table", id="plugin table expected"),
        pytest.param("[bootc]\nbakend = 'x'", "bootc.bakend: unknown key", id="unknown key"),
        pytest.param("[bootc]\nparallel = 'x'", "bootc.parallel: must be an integer", id="type"),
        pytest.param("[bootc]\nparallel = 0", "bootc.parallel: 'parallel' must be >= 1: 0", id="range"),
        pytest.param("[install]\nkargs = 'x'", "install.kargs: must be a list", id="list"),
        pytest.param('[install]\nkargs = ["a\\nb"]', "install.kargs: a kernel argument is empty", id="newline"),
        pytest.param('[install]\nkargs = [""]', "install.kargs: a kernel argument is empty", id="empty argument"),
        pytest.param("[install]\nkargs = ['a=\"b']", "install.kargs: a kernel argument is empty", id="open quote"),
        pytest.param("[install]\nstateroot = '../x'", "install.stateroot: must be a plain name", id="path"),
        pytest.param("[install]\nroot-fs-type = 'zfs'", "install.root-fs-type: must be one of xfs, ext4", id="choice"),
        pytest.param("[bootc\n", "not valid TOML: ", id="syntax"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path, "etc/bootc/config.toml", text)

    with pytest.raises(ConfigError) as caught:
        Config.load(tmp_path)

    assert caught.value.message.startswith(f"{path}: {problem}")


def test_a_mistake_is_found_even_where_a_later_file_would_hide_it(tmp_path: Path) -> None:
    path = write(tmp_path, "usr/lib/bootc/config.d/a.toml", "[bootc]\nparallel = 'x'")
    write(tmp_path, "etc/bootc/config.toml", "[bootc]\nparallel = 1")

    with pytest.raises(ConfigError) as caught:
        Config.load(tmp_path)

    assert caught.value.source == path


def test_a_plugin_s_mistakes_are_found_when_its_options_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "etc/bootc/config.toml", "[fetchers.registry]\nretrys = 1")

    with pytest.raises(ConfigError) as caught:
        Config.load(tmp_path).options(REGISTRY)

    assert (caught.value.message, caught.value.hint) == (
        f"{path}: fetchers.registry.retrys: unknown key",
        "did you mean retries?",
    )


def test_sections_name_plugins_and_files_even_if_empty(tmp_path: Path) -> None:
    path = write(tmp_path, "etc/bootc/config.toml", "[fetchers.registry]\n[backends.x]\na = 1\n[bootloaders]\n")

    assert Config.load(tmp_path).sections() == (Section("backend", "x", path), Section("fetcher", "registry", path))


def test_the_listing_has_values_sources_and_defaults_and_hides_secrets(tmp_path: Path) -> None:
    path = write(tmp_path, "etc/bootc/config.toml", '[fetchers.registry]\ntoken = "hunter2"\nmirrors = ["m"]')

    found = {item.key: item for item in Config.load(tmp_path).values([REGISTRY])}

    assert [found[f"fetchers.registry.{key}"] for key in ("mirrors", "retries", "token")] == [
        ConfigValue("fetchers.registry.mirrors", ["m"], path),
        ConfigValue("fetchers.registry.retries", 5, "default"),
        ConfigValue("fetchers.registry.token", "(hidden)", path),
    ]
    assert found["bootc.parallel"] == ConfigValue("bootc.parallel", 4, "default")
    assert found["install.filesystem.root.type"] == ConfigValue("install.filesystem.root.type", None, "default")
    assert "hunter2" not in repr(sorted(found.items()))


def test_a_key_on_the_command_line_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^command line: bootc\.parallel: must be an integer"):
        Config.load(tmp_path, overrides={"bootc.parallel": "x"})


@given(st.lists(st.tuples(st.sampled_from(DIRECTORIES), st.sampled_from("abc"), st.integers(1, 99)), max_size=6))
@settings(max_examples=30, deadline=None)
def test_whatever_files_there_are_the_last_in_order_decides(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, str, int]]
) -> None:
    root = tmp_path_factory.mktemp("root")
    written = {(directory, name): parallel for directory, name, parallel in files}
    for (directory, name), parallel in written.items():
        write(root, f"{directory}/{name}.toml", f"[bootc]\nparallel = {parallel}")

    order = sorted(written, key=lambda place: (DIRECTORIES.index(place[0]), place[1]))

    assert Config.load(root).settings.parallel == (written[order[-1]] if order else 4)


# ---------------------------------------------------------------- the image's install configuration


def installed(root: Path) -> InstallSettings:
    """The install settings below this root."""
    return Config.load(root).install


def test_a_higher_directory_replaces_a_file_of_the_same_name_and_names_decide_the_order(tmp_path: Path) -> None:
    write(tmp_path, "usr/lib/bootc/install/10-a.toml", '[install]\nkargs = ["hidden"]\nstateroot = "hidden"')
    write(tmp_path, "etc/bootc/install/10-a.toml", '[install]\nkargs = ["a"]')
    write(tmp_path, "usr/lib/bootc/install/20-b.toml", '[install]\nkargs = ["b"]\nbootloader = "grub"')
    write(tmp_path, "usr/local/lib/bootc/install/30-c.toml", '[install]\nbootloader = "none"\nkarg-deletes = ["q"]')
    write(tmp_path, "run/bootc/install/05-d.toml", '[install]\nkargs = ["d"]')

    assert installed(tmp_path) == InstallSettings(kargs=("d", "a", "b"), karg_deletes=("q",), bootloader="none")


def test_an_install_table_in_our_own_files_comes_after_the_image_s(tmp_path: Path) -> None:
    write(tmp_path, "run/bootc/install/99.toml", '[install]\nkargs = ["image"]\nstateroot = "image"')
    write(tmp_path, "usr/lib/bootc/config.d/00.toml", '[install]\nkargs = ["mine"]\nstateroot = "mine"')

    assert installed(tmp_path) == InstallSettings(kargs=("image", "mine"), stateroot="mine")


def test_files_for_other_machines_do_not_count(tmp_path: Path) -> None:
    mine = platform.current().kargs_name
    write(tmp_path, "usr/lib/bootc/install/a.toml", '[install]\nmatch-architectures = ["pdp11"]\nkargs = ["no"]')
    write(tmp_path, "usr/lib/bootc/install/b.toml", f'[install]\nmatch-architectures = ["{mine}"]\nkargs = ["yes"]')
    write(tmp_path, "usr/lib/bootc/install/c.toml", '[install]\nmatch-architectures = []\nkargs = ["never"]')
    write(
        tmp_path,
        "etc/bootc/config.toml",
        '[install]\nmatch-architectures = ["vax"]\nkargs = ["no"]\n[bootc]\nparallel=1',
    )

    assert installed(tmp_path) == InstallSettings(kargs=("yes",))
    assert Config.load(tmp_path).settings.parallel == 1


def test_both_spellings_of_the_root_filesystem(tmp_path: Path) -> None:
    write(tmp_path, "usr/lib/bootc/install/a.toml", '[install]\nroot-fs-type = "xfs"')
    assert installed(tmp_path).root_filesystem == "xfs"

    write(tmp_path, "usr/lib/bootc/install/0.toml", '[install.filesystem.root]\ntype = "btrfs"')
    assert installed(tmp_path) == InstallSettings(
        root_fs_type="xfs", filesystem=FilesystemSettings(RootFilesystem("btrfs"))
    )
    assert installed(tmp_path).root_filesystem == "btrfs"


def test_all_keys_of_upstream_are_understood(tmp_path: Path) -> None:
    write(
        tmp_path,
        "usr/lib/bootc/install/all.toml",
        """
        [install]
        root-fs-type = "ext4"
        block = ["tpm2-luks", "direct"]
        kargs = ["console=ttyS0", "a=\\"b c\\""]
        karg-deletes = ["quiet"]
        stateroot = "os"
        root-mount-spec = ""
        boot-mount-spec = "UUID=1"
        bootloader = "systemd"
        discoverable-partitions = true
        enforce-container-sigpolicy = true
        [install.ostree]
        bls-append-except-default = "x"
        [install.bootupd]
        skip-boot-uuid = true
        """,
    )
    config = Config.load(tmp_path)

    assert (config.warnings, config.install.block, config.install.root_mount_spec) == ((), ("tpm2-luks", "direct"), "")
    assert config.install.kargs == ("console=ttyS0", 'a="b c"')
    assert (config.install.ostree.bls_append_except_default, config.install.bootupd.skip_boot_uuid) == ("x", True)


def test_unknown_keys_of_the_ostree_table_are_only_warned_of(tmp_path: Path) -> None:
    path = write(
        tmp_path, "usr/lib/bootc/install/a.toml", "[install.ostree]\nnew-key = 1\nbls_append_except_default = 1"
    )

    config = Config.load(tmp_path)

    assert config.warnings == (
        f"{path}: Unknown key install.ostree.new-key",
        f"{path}: Unknown key install.ostree.bls_append_except_default",
    )
    assert config.install == InstallSettings()


@pytest.mark.parametrize(
    "text", ["[bootc]\nparallel = 1", "[install]\nunknown = 1", "install = 1", "[install.block]\n"]
)
def test_an_install_file_holds_nothing_else(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "usr/lib/bootc/install/a.toml", text)

    with pytest.raises(ConfigError) as caught:
        Config.load(tmp_path)

    assert caught.value.source == path
