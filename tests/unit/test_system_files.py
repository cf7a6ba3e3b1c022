"""The files for a distribution: where they go, and what the units promise."""

from __future__ import annotations

from importlib.resources import files
from itertools import chain
from pathlib import Path, PurePosixPath

import pytest

from bootc.bootloaders import counting
from bootc.cli.completions import SHELLS, script
from bootc.cli.main import root
from bootc.errors import FileSystemError
from bootc.host import KERNEL_ARGUMENT
from bootc.system.files import DATA, DRACUT, DROP_INS, INITRAMFS, INITRAMFS_TOOLS, SCRIPTS, UNITS, WANTS, install

UNIT_FOLDER = files("bootc.system").joinpath("units")


def unit(name: str) -> dict[tuple[str, str], list[str]]:
    """A unit's settings; a key that stands several times has several values."""
    settings: dict[tuple[str, str], list[str]] = {}
    section = ""
    for line in UNIT_FOLDER.joinpath(name).read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            settings.setdefault((section, key), []).extend(value.split() if section == "Unit" else [value])
    return settings


def snapshot(root: Path) -> dict[str, tuple[str | bytes, int]]:
    return {
        str(path.relative_to(root)): (
            str(path.readlink()) if path.is_symlink() else b"" if path.is_dir() else path.read_bytes(),
            path.lstat().st_mtime_ns,
        )
        for path in root.rglob("*")
    }


def test_everything_lands_where_a_distribution_has_it(tmp_path: Path) -> None:
    written = install(tmp_path, {shell: script(shell, root) for shell in SHELLS})
    assert [str(path) for path in written] == [
        "usr/lib/bootc/config.d",
        "usr/lib/bootc/initramfs/mount-root",
        "usr/lib/bootc/initramfs/version",
        "usr/lib/bootc/install",
        "usr/lib/bootc/kargs.d",
        "usr/lib/dracut/modules.d/90bootc-root/bootc-emergency.service",
        "usr/lib/dracut/modules.d/90bootc-root/bootc-root.service",
        "usr/lib/dracut/modules.d/90bootc-root/module-setup.sh",
        "usr/lib/systemd/system/basic.target.wants/bootc-finalize-staged.service",
        "usr/lib/systemd/system/bootc-boot-completed.service",
        "usr/lib/systemd/system/bootc-boot-late.service",
        "usr/lib/systemd/system/bootc-boot-late.timer",
        "usr/lib/systemd/system/bootc-fetch-apply-updates.service",
        "usr/lib/systemd/system/bootc-fetch-apply-updates.timer",
        "usr/lib/systemd/system/bootc-finalize-staged.service",
        "usr/lib/systemd/system/bootc-publish.service",
        "usr/lib/systemd/system/bootc-status-updated.path",
        "usr/lib/systemd/system/bootc-status-updated.target",
        "usr/lib/systemd/system/multi-user.target.wants/bootc-boot-completed.service",
        "usr/lib/systemd/system/multi-user.target.wants/bootc-publish.service",
        "usr/lib/systemd/system/multi-user.target.wants/bootc-status-updated.path",
        "usr/lib/systemd/system/sysinit.target.wants/bootc-boot-late.timer",
        "usr/lib/systemd/system/systemd-bless-boot.service.d/50-bootc.conf",
        "usr/lib/systemd/system-preset/90-bootc.preset",
        "usr/lib/systemd/system.conf.d/50-bootc-watchdog.conf",
        "usr/share/bash-completion/completions/bootc",
        "usr/share/fish/vendor_completions.d/bootc.fish",
        "usr/share/initramfs-tools/hooks/bootc-root",
        "usr/share/initramfs-tools/scripts/init-bottom/bootc-root",
        "usr/share/zsh/site-functions/_bootc",
    ]
    assert all((tmp_path / path).exists() for path in written)
    assert (tmp_path / UNITS / "bootc-publish.service").stat().st_mode & 0o777 == 0o644
    executable = {path for path in written if not (tmp_path / path).is_dir() and (tmp_path / path).stat().st_mode & 1}
    assert executable == {*SCRIPTS.values()}


def test_all_that_the_initramfs_needs_is_installed() -> None:
    here = Path(str(files("bootc.system")))
    ours = {path for path in (here / "initramfs").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    brought = {str(path.relative_to(here)) for path in ours if path.suffix not in (".py", ".md")}
    assert brought == {*SCRIPTS, *DATA}


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    install(tmp_path, {"bash": "script"})
    before = snapshot(tmp_path)
    install(tmp_path, {"bash": "script"})
    assert snapshot(tmp_path) == before


def test_damage_is_repaired(tmp_path: Path) -> None:
    install(tmp_path, {})
    service, link = tmp_path / UNITS / "bootc-publish.service", tmp_path / UNITS / "multi-user.target.wants"
    service.write_text("nonsense")
    (link / "bootc-publish.service").unlink()
    install(tmp_path, {})
    assert service.read_bytes() == UNIT_FOLDER.joinpath("bootc-publish.service").read_bytes()
    assert (link / "bootc-publish.service").resolve() == service


def test_a_script_that_lost_its_mode_gets_it_back(tmp_path: Path) -> None:
    install(tmp_path, {})
    script = tmp_path / SCRIPTS["initramfs/mount-root"]
    script.chmod(0o644)
    install(tmp_path, {})
    assert script.stat().st_mode & 0o777 == 0o755


def test_the_root_must_be_a_directory(tmp_path: Path) -> None:
    with pytest.raises(FileSystemError, match="not a directory"):
        install(tmp_path / "absent", {})


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts_ask_bootc(shell: str) -> None:
    assert "_BOOTC_COMPLETE=" in script(shell, root)


def test_finalizing_stops_before_libostree_s_unit_and_while_all_is_mounted() -> None:
    found = unit("bootc-finalize-staged.service")
    after = found["Unit", "After"]
    assert {"ostree-finalize-staged.service", "local-fs.target"} <= set(after)
    assert {"boot.mount", "boot-efi.mount", "efi.mount"} <= set(after)
    assert {"boot.automount", "boot-efi.automount", "efi.automount"} <= set(after)
    assert found["Unit", "DefaultDependencies"] == ["no"]
    assert found["Unit", "Conflicts"] == ["final.target"]
    assert found["Unit", "Before"] == ["basic.target", "final.target"]
    assert found["Unit", "RequiresMountsFor"] == ["/sysroot"]
    assert found["Service", "Type"] == ["oneshot"]
    assert found["Service", "RemainAfterExit"] == ["yes"]
    assert ("Service", "ExecStart") not in found


def test_no_unit_is_stopped_with_a_mount_that_comes_and_goes() -> None:
    """systemd mounts an ESP on demand, and unmounts it when nobody used it (systemd-gpt-auto-generator(8))."""
    for file in UNIT_FOLDER.iterdir():
        found = unit(file.name)
        strong = [found.get(("Unit", key), []) for key in ("Requires", "Requisite", "BindsTo", "PartOf")]
        assert set(chain(*strong)) <= {"boot-complete.target"}, file.name
        assert set(found.get(("Unit", "RequiresMountsFor"), [])) <= {"/sysroot"}, file.name


def test_units_call_commands_that_exist() -> None:
    commands = {
        name: value.partition("/usr/bin/bootc ")[2].partition(" ;")[0].split()
        for name in sorted(file.name for file in UNIT_FOLDER.iterdir() if file.name.endswith(".service"))
        for (section, key), values in unit(name).items()
        for value in values
        if section == "Service" and key.startswith("Exec") and "/usr/bin/bootc " in value
    }
    assert commands == {
        "bootc-boot-completed.service": ["internals", "boot-completed"],
        "bootc-boot-late.service": ["internals", "boot-late"],
        "bootc-fetch-apply-updates.service": ["upgrade", "--apply", "--quiet"],
        "bootc-finalize-staged.service": ["internals", "finalize-staged"],
        "bootc-publish.service": ["internals", "publish"],
    }
    for words in commands.values():
        with root.make_context("bootc", [*words, "--help"], resilient_parsing=True) as context:
            command = root.get_command(context, words[0])
            assert command is not None
            for word in words[1:]:
                names = {name for parameter in command.params for name in parameter.opts}
                known = command.commands if hasattr(command, "commands") else {}
                assert word in names or word in known


def test_units_are_wanted_or_can_be_enabled_or_are_started_by_another() -> None:
    triggered = {"bootc-fetch-apply-updates.service", "bootc-status-updated.target", "bootc-boot-late.service"}
    for file in UNIT_FOLDER.iterdir():
        is_enabled = ("Install", "WantedBy") in unit(file.name)
        assert [file.name in WANTS, is_enabled, file.name in triggered].count(True) == 1, file.name


def test_every_unit_is_for_image_based_systems_only() -> None:
    for file in UNIT_FOLDER.iterdir():
        if file.name.startswith("bootc-boot-late."):
            assert unit(file.name)["Unit", "ConditionKernelCommandLine"] == [counting.FLAG]
        elif file.name != "bootc-status-updated.target":
            found = unit(file.name)
            assert found["Unit", "ConditionPathExists"] == ["|/run/ostree-booted"]
            assert found["Unit", "ConditionKernelCommandLine"] == [f"|{KERNEL_ARGUMENT}"]


def test_nothing_reboots_once_the_boot_is_complete_and_a_failed_health_check_does_not_wait() -> None:
    completed, late = unit("bootc-boot-completed.service"), unit("bootc-boot-late.service")
    assert completed["Unit", "Requires"] == ["boot-complete.target"]
    assert {"boot-complete.target", "multi-user.target"} <= set(completed["Unit", "After"])
    assert completed["Unit", "OnFailure"] == ["bootc-boot-late.service"]
    mark = "/run/bootc/boot-complete"
    assert mark in completed["Service", "ExecStartPre"][0]
    assert late["Unit", "ConditionPathExists"] == [f"!{mark}"]
    assert late["Service", "ExecStart"][-1] == "/usr/bin/systemctl --no-block reboot"
    for name in ("bootc-boot-late.service", "bootc-boot-late.timer"):  # also in emergency mode
        assert unit(name)["Unit", "IgnoreOnIsolate"] == ["yes"]
        assert unit(name)["Unit", "DefaultDependencies"] == ["no"]


def test_the_readme_names_every_destination() -> None:
    text = files("bootc.system").joinpath("README.md").read_text()
    for path in install_destinations():
        assert f"/{path}" in text.replace("{config.d,install,kargs.d}", "config.d"), path


def install_destinations() -> set[PurePosixPath]:
    from bootc.system.files import COMPLETIONS, PRESETS

    folders = {UNITS, PRESETS, PurePosixPath("usr/lib/bootc"), INITRAMFS, DRACUT, INITRAMFS_TOOLS}
    return {*folders, *COMPLETIONS.values(), *DROP_INS.values()}
