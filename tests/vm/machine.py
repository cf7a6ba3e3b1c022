"""A virtual machine for tests and demonstrations: QEMU with a serial log, a guest agent and a power switch.

Only the standard library and qemu-system-x86_64 are needed; the guest runs systemd and qemu-guest-agent.
"""

import json
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests.vm.agent import AgentFailure, AgentTimeout, GuestAgent
from tests.vm.qemu import COMMAND, Accelerator, best_accelerator, take_turn, uefi
from tests.vm.write_log import settle

BOOT = 600.0
"""Seconds that a boot may take: emulated processors need 40 where nothing else runs, and 240 on a very busy host."""
_ANSWER = 30.0
"""Seconds that the guest agent may take for a question that costs it nothing."""


class MachineError(Exception):
    """The machine did not do what was asked of it; the message ends with the last lines of its serial console."""


class Firmware(Enum):
    """What starts the disk."""

    UEFI = "uefi"
    BIOS = "bios"


@dataclass(frozen=True)
class Outcome:
    """A command that ended in the guest: its exit status (128 + N after signal N) and what it wrote."""

    rc: int
    out: str
    err: str


@dataclass(frozen=True)
class DirectKernel:
    """A kernel that QEMU starts by itself, without a boot loader."""

    kernel: Path
    initrd: Path
    arguments: str


@dataclass
class _Power:
    """What exists only while the machine is on."""

    process: subprocess.Popen[bytes]
    turn: IO[str]
    agent: GuestAgent
    sockets: tuple[socket.socket, socket.socket]
    monitor: IO[bytes]
    was_reset: bool = False


class VirtualMachine:
    """One machine around a raw disk. Its folder holds the serial log, QEMU's messages and the UEFI variables.

    Each boot has a process of its own: QEMU ends when the guest resets the machine, and `wait_up` starts it again. One
    that goes on after a reset now and then executes some fifty times slower, for good, so that firmware seems to be
    silent or gives up.

    The disk outlives the machine, which can be started again after it was cut or powered off. The guest sees the host's
    loopback as 10.0.2.2. With `write_log`, every write and flush of the (first) disk is recorded in that file in the
    format of dm-log-writes; each start records anew. It has one processor: where several are emulated side by side, one
    may still run what another has just patched in the kernel, which then panics in one boot of some hundreds.
    """

    def __init__(
        self,
        disk: Path,
        folder: Path,
        *,
        firmware: Firmware = Firmware.UEFI,
        memory: int = 1024,
        processors: int = 1,
        more_disks: Sequence[Path] = (),
        write_log: Path | None = None,
        direct: DirectKernel | None = None,
        accelerator: Accelerator | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.boot_id = ""
        self._disks = (disk, *more_disks)
        self._firmware = firmware
        self._write_log = write_log
        self._direct = direct
        self._accelerator = accelerator
        self._hardware = ("-m", str(memory), "-smp", str(processors), *extra)
        self._power: _Power | None = None
        self._since = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    @property
    def serial_log(self) -> Path:
        """Everything that the serial console ever showed, over all starts."""
        return self.folder / "serial.log"

    def start(self) -> None:
        """Switch the machine on; waits for its turn while as many machines run as the host has processors."""
        if self._power is not None:
            raise MachineError("the machine runs already")
        turn = take_turn()
        if self._write_log is not None:
            self._write_log.write_bytes(b"")
        self._since = time.monotonic()
        self.boot_id = ""
        self._switch_on(turn)

    def _switch_on(self, turn: IO[str]) -> None:
        agent, far_agent = socket.socketpair()
        monitor, far_monitor = socket.socketpair()
        descriptors = (far_agent.fileno(), far_monitor.fileno())
        command = [*COMMAND, *self._options(*descriptors)]
        with far_agent, far_monitor, (self.folder / "qemu.log").open("wb") as log:
            log.write(f"{shlex.join(command)}\n".encode())
            log.flush()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=descriptors)
        channel = GuestAgent(agent, self._check_running)
        self._power = _Power(process, turn, channel, (agent, monitor), monitor.makefile("rb"))
        try:
            self.monitor("qmp_capabilities")
        except MachineError:
            self.cut()
            raise

    def wait_up(self, timeout: float = BOOT) -> float:
        """Wait until the guest has started its units; returns the seconds since power-on or since `reboot` asked.

        Exact: an answer counts only when it comes from another boot than the last one that was waited for.
        """
        deadline = time.monotonic() + timeout
        while (boot_id := self._boot_id_when_up(min(deadline, time.monotonic() + _ANSWER))) in ("", self.boot_id):
            if time.monotonic() > deadline:
                raise self._failure(f"the guest was not up after {timeout:.0f} s")
            if self._on.was_reset:
                self._switch_on(self._release())
            time.sleep(0.5)
        self.boot_id = boot_id
        return time.monotonic() - self._since

    def _boot_id_when_up(self, deadline: float) -> str:
        """The id of the boot that has started its units; "" if there is none, or no answer.

        A guest that goes down takes a question with it, and the next one knows nothing of it: no answer is waited for
        long, and each question is asked anew.
        """
        try:
            self._on.agent.synchronize(deadline)
            soon = min(deadline, time.monotonic() + _ANSWER)
            boot_id = self._execute(["cat", "/proc/sys/kernel/random/boot_id"], soon).out.strip()
            state = self._execute(["systemctl", "is-system-running"], soon).out.strip()
        except (AgentTimeout, AgentFailure):
            return ""
        return boot_id if state in ("running", "degraded") else ""

    def run(
        self, command: str | Sequence[str], *, stdin: bytes = b"", timeout: float = 600, check: bool = True
    ) -> Outcome:
        """Run a program, or a line for /bin/sh, as root in the guest; with `check` a failure raises MachineError."""
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        try:
            outcome = self._execute(words, time.monotonic() + timeout, stdin)
        except (AgentTimeout, AgentFailure) as error:
            raise self._failure(f"{shlex.join(words)}: {error}") from error
        if check and outcome.rc:
            raise self._failure(f"{shlex.join(words)} ended with {outcome.rc}\n{outcome.out}{outcome.err}")
        return outcome

    def write_file(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        """Write a file in the guest, and its folders where they are missing."""
        data = content.encode() if isinstance(content, str) else content
        name = shlex.quote(path)
        self.run(f'mkdir -p "$(dirname {name})" && : > {name} && chmod {mode:o} {name}')
        for start in range(0, len(data), 1 << 20):
            self.run(f"cat >> {name}", stdin=data[start : start + (1 << 20)])

    def reboot(self, timeout: float = BOOT) -> float:
        """Reboot in order, stopping all units, and wait until the guest is up; returns the seconds that it took."""
        self.ask_reboot()
        return self.wait_up(timeout)

    def ask_reboot(self) -> None:
        """Begin to reboot in order, and do not wait; `wait_up` does."""
        self._ask("reboot")

    def poweroff(self, timeout: float = BOOT) -> float:
        """Switch off in order, stopping all units, and wait for the end; returns the seconds that it took."""
        self._ask("poweroff")
        try:
            self._on.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise self._failure(f"the guest did not power off in {timeout:.0f} s") from error
        if self._was_reset():
            raise self._failure("the guest reset the machine instead of switching it off")
        self._release().close()
        return time.monotonic() - self._since

    def cut(self) -> None:
        """Cut the power if it is on: what the guest had not yet written to its disk is lost."""
        if self._power is not None:
            self._power.process.kill()
            self._power.process.wait()
            self._release().close()

    def monitor(self, command: str, **arguments: object) -> Any:
        """Execute a QMP command and return its value."""
        power = self._on
        request = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        try:
            power.sockets[1].sendall(request)
            while not {"return", "error"} & (answer := json.loads(power.monitor.readline() or b"null") or {}).keys():
                self._check_running()
        except ConnectionError:
            power.process.wait(10)
            self._check_running()
            raise
        if "error" in answer:
            raise self._failure(f"{command}: {answer['error']}")
        return answer["return"]

    def serial_tail(self, lines: int = 40) -> str:
        """The last lines of the serial console."""
        text = self.serial_log.read_text(errors="replace") if self.serial_log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    @property
    def _on(self) -> _Power:
        if self._power is None:
            raise MachineError("the machine is off")
        return self._power

    def _options(self, agent: int, monitor: int) -> list[str]:
        direct = self._direct
        return [
            *(self._accelerator or best_accelerator()).value,
            *self._hardware,
            *(uefi(self.folder) if self._firmware is Firmware.UEFI else ()),
            *self._block_devices(),
            *("-chardev", f"file,id=serial,path={self.serial_log},append=on", "-serial", "chardev:serial"),
            *("-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={agent}"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
            *("-netdev", "user,id=network", "-device", "virtio-net-pci,netdev=network,romfile="),
            *("-device", "virtio-rng-pci"),
            *(("-kernel", str(direct.kernel), "-initrd", str(direct.initrd)) if direct else ()),
            *(("-append", direct.arguments) if direct else ()),
            *("-action", "reboot=shutdown"),
        ]

    def _block_devices(self) -> list[str]:
        options = []
        for number, disk in enumerate(self._disks):
            node, more = f"disk{number}", ""
            options += ["-blockdev", f"driver=raw,node-name={node},discard=unmap,file.driver=file,file.filename={disk}"]
            if number == 0 and self._write_log is not None:
                mode = "log-append=on" if settle(self._write_log) else "log-sector-size=512"
                os.truncate(self._write_log, max(self._write_log.stat().st_size, disk.stat().st_size))
                options += ["-blockdev", f"driver=file,node-name=log,filename={self._write_log}"]
                options += ["-blockdev", f"driver=blklogwrites,node-name=logged,file={node},log=log,{mode}"]
                # blklogwrites puts parts of its own before each write, and what was merged can have no more parts then.
                node, more = "logged", ",request-merging=off"
            options += ["-device", f"virtio-blk-pci,drive={node},bootindex={number + 1}{more}"]
        return options

    def _execute(self, command: Sequence[str], deadline: float, stdin: bytes = b"") -> Outcome:
        done = self._on.agent.execute(command, stdin, deadline)
        return Outcome(done.rc, done.out.decode(errors="replace"), done.err.decode(errors="replace"))

    def _ask(self, verb: str) -> None:
        self._since = time.monotonic()
        try:
            self._on.agent.start(["systemctl", verb], self._since + 30)
        except (AgentTimeout, AgentFailure) as error:
            raise self._failure(f"systemctl {verb}: {error}") from error

    def _check_running(self) -> None:
        """Raises AgentFailure after a reset, and MachineError if QEMU ended otherwise."""
        if self._on.process.poll() is not None:
            if self._was_reset():
                raise AgentFailure("the machine was reset")
            log = (self.folder / "qemu.log").read_text(errors="replace")
            raise self._failure(f"QEMU ended with {self._on.process.returncode}: {log[-2000:]}")

    def _was_reset(self) -> bool:
        """Whether it was the guest's reset by which QEMU ended: its last words say so (QMP, event SHUTDOWN)."""
        power = self._on
        for line in power.monitor:
            event = json.loads(line)
            power.was_reset |= event.get("event") == "SHUTDOWN" and event["data"]["reason"] == "guest-reset"
        return power.was_reset

    def _failure(self, message: str) -> MachineError:
        return MachineError(f"{message}\n--- end of {self.serial_log} ---\n{self.serial_tail()}")

    def _release(self) -> IO[str]:
        """What is left of a machine that is off: its turn on the processors."""
        power, self._power = self._on, None
        power.monitor.close()
        for end in power.sockets:
            end.close()
        return power.turn
