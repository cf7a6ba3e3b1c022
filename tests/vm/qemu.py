"""What the host offers to virtual machines: firmware, an accelerator that works, and a turn on its processors."""

import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
import time
from enum import Enum
from pathlib import Path
from typing import IO

COMMAND = (
    # A machine must not outlive the test that started it, however that test ends.
    *("setpriv", "--pdeathsig", "KILL"),
    *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
    *("-machine", "q35,usb=off,hpet=off,sata=off"),
)

FIRMWARE = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
)
"""Where distributions keep the UEFI firmware: its code, and an empty variable store."""


class Accelerator(Enum):
    """Who executes the guest's instructions; the values are QEMU's options."""

    KVM = ("-accel", "kvm", "-cpu", "host")
    TCG = ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "qemu64,-svm")


def uefi(folder: Path) -> list[str]:
    """The options for the UEFI firmware, with its variables kept in `folder`."""
    code, variables = next(pair for pair in FIRMWARE if all(map(os.path.exists, pair)))
    own = folder / "variables.fd"
    if not own.exists():
        shutil.copyfile(variables, own)
    parts = (f"readonly=on,file={code}", f"file={own}")
    return [word for part in parts for word in ("-drive", f"if=pflash,format=raw,{part}")]


@functools.cache
def best_accelerator() -> Accelerator:
    """KVM where it really runs a guest, else emulation: some hosts have the device and fail at the first real code.

    Starts the UEFI firmware on an empty machine and waits up to 20 s for its words on the serial console.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Accelerator.TCG
    with tempfile.TemporaryDirectory() as folder:
        serial = Path(folder, "serial")
        command = [*COMMAND, *Accelerator.KVM.value, "-m", "256", *uefi(Path(folder)), "-serial", f"file:{serial}"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 20
            while not (spoke := serial.exists() and b"UEFI" in serial.read_bytes()):
                if process.poll() is not None or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            process.kill()
    return Accelerator.KVM if spoke else Accelerator.TCG


def take_turn() -> IO[str]:
    """Wait until fewer machines than processors run; the lock file returned passes the turn on when it is closed."""
    folder = Path(tempfile.gettempdir(), f"bootc-machines-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        for number in range(os.cpu_count() or 1):
            turn = (folder / str(number)).open("w")
            try:
                fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                turn.close()
            else:
                return turn
        time.sleep(0.5)
