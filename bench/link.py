"""A slow link between two network namespaces: a rate, a delay, and a queue that drops what is too much.

A benchmark that uses it moves into a namespace of its own first: the machine's network is left alone. The model is
netem's (`netem rate R delay D limit 1000`); but not every kernel has netem, so the packets are carried here, from one
TUN device to the other: TCP on both sides is the kernel's, and sees a link like any other.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from attrs import define, field, frozen

NEAR, FAR = "198.51.100.2", "198.51.100.1"
"""the addresses of the two ends (RFC 5737); servers listen at the far one, in this namespace"""
_MOVED = "BENCH_NETWORK"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_QUEUE = 1000
"""packets, as netem's limit"""
_PACKET = 1 << 16


@frozen
class Link:
    """A namespace at whose other end this one is."""

    namespace: str
    rate: float
    """bits per second, each way"""
    delay: float
    """seconds, each way"""

    def argv(self, *words: str) -> list[str]:
        """A command line that runs a program at the near end."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def __str__(self) -> str:
        return f"{self.rate / 1e6:.0f} Mbit/s, round trip {self.delay * 2000:.0f} ms"


def move_to_own_network() -> None:
    """Start this program again in a network namespace where only loopback is, with the address FAR. Needs root."""
    if os.environ.get(_MOVED) != "own":
        os.environ[_MOVED] = "own"
        os.execvp("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv])
    _ip("link", "set", "lo", "up")
    _ip("addr", "add", FAR, "dev", "lo")


@contextmanager
def slow_link(rate: float, delay: float) -> Iterator[Link]:
    """From this namespace, which must be one of its own, to another. All is gone afterwards."""
    namespace = f"bootc-bench-{os.getpid()}"
    with ExitStack() as stack:
        _ip("netns", "add", namespace)
        stack.callback(_ip, "netns", "del", namespace)
        ends = [stack.enter_context(_device(name)) for name in (f"bb{os.getpid()}a", f"bb{os.getpid()}b")]
        (far, far_name), (near, near_name) = ends
        _ip("addr", "add", FAR, "peer", NEAR, "dev", far_name)
        _ip("link", "set", far_name, "up")
        _ip("link", "set", near_name, "netns", namespace)
        _ip("-n", namespace, "addr", "add", NEAR, "peer", FAR, "dev", near_name)
        for name in ("lo", near_name):
            _ip("-n", namespace, "link", "set", name, "up")
        stack.enter_context(_carrying([_Way(far, near, rate / 8, delay), _Way(near, far, rate / 8, delay)]))
        yield Link(namespace, rate, delay)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def _device(name: str) -> Iterator[tuple[int, str]]:
    """A TUN device (Documentation/networking/tuntap): packets that are routed to it are read from the descriptor."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        yield descriptor, name
    finally:
        os.close(descriptor)


@define
class _Way:
    """One direction: packets leave one after the other at the rate, and arrive a delay later."""

    source: int
    target: int
    rate: float
    """bytes per second"""
    delay: float
    queue: deque[tuple[float, bytes]] = field(factory=deque)
    free: float = 0.0
    """when the last packet has left"""

    def take(self, now: float) -> None:
        """All packets that wait at the source."""
        while (packet := _read(self.source)) is not None:
            if len(self.queue) < _QUEUE:
                self.free = max(now, self.free) + len(packet) / self.rate
                self.queue.append((self.free + self.delay, packet))

    def give(self, now: float) -> None:
        """All packets that have arrived."""
        while self.queue and self.queue[0][0] <= now:
            _write(self.target, self.queue.popleft()[1])


def _read(descriptor: int) -> bytes | None:
    try:
        return os.read(descriptor, _PACKET)
    except BlockingIOError:
        return None


def _write(descriptor: int, packet: bytes) -> None:
    try:
        os.write(descriptor, packet)
    except BlockingIOError:
        return  # The receiver's own queue is full: lost, as on any link.


@contextmanager
def _carrying(ways: Sequence[_Way]) -> Iterator[None]:
    end, signal = os.pipe()
    thread = threading.Thread(target=_carry, args=(ways, end))
    thread.start()
    try:
        yield
    finally:
        os.close(signal)
        thread.join()
        os.close(end)


def _carry(ways: Sequence[_Way], end: int) -> None:
    sources = [end, *(way.source for way in ways)]
    while True:
        now = time.monotonic()
        waits = [way.queue[0][0] - now for way in ways if way.queue]
        ready, _, _ = select.select(sources, [], [], max(min(waits), 0) if waits else None)
        if end in ready:
            return
        now = time.monotonic()
        for way in ways:
            way.take(now)
            way.give(now)
