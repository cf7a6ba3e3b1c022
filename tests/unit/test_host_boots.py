"""What a machine says of a boot that was not complete."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bootc.host.boots import last_words, waited_for

PANIC = """<6>[    5.1] Run /usr/lib/systemd/systemd as init process
<0>[    5.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100
<4>[    5.3] CPU: 0 PID: 1 Comm: systemd
"""
ROOT = "<2>[    6.0] bootc: cannot mount the root of deployment b.0: deployments/b is missing\n"


def write(path: Path, text: str, age: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    moment = time.time() - age
    os.utime(path, (moment, moment))


def test_the_last_words_of_the_kernel_are_found_in_the_newest_dump(tmp_path: Path) -> None:
    write(tmp_path / "a/dmesg-efi-1", ROOT, 3600)
    write(tmp_path / "b/7/dmesg.txt", PANIC, 60)
    stores = (tmp_path / "a", tmp_path / "b")
    assert last_words(stores) == "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"
    write(tmp_path / "a/dmesg-efi-1", ROOT)
    assert last_words(stores) == "bootc: cannot mount the root of deployment b.0: deployments/b is missing"


def test_old_dumps_and_dumps_without_a_reason_tell_nothing(tmp_path: Path) -> None:
    write(tmp_path / "dmesg-1", PANIC, 2 * 24 * 3600)
    write(tmp_path / "dmesg-2", "<6>[ 1.0] all is well\n")
    assert last_words((tmp_path, tmp_path / "absent")) is None


SYSTEMCTL = """#!/bin/sh
case "$1" in
    list-units) echo "sshd.service loaded failed failed OpenSSH server"; echo "web.service loaded failed failed Web" ;;
    list-jobs) echo " 12 check.service start running"; echo "  3 boot-complete.target start waiting"
               echo " 15 bootc-boot-late.service start running" ;;
esac
"""


def test_failed_units_and_running_jobs_are_named(tmp_path: Path) -> None:
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    assert waited_for(str(program)) == "failed: sshd.service, web.service; still waited for: check.service"
    program.write_text("#!/bin/sh\nexit 1\n")
    assert waited_for(str(program)) == "boot-complete.target was not reached"
