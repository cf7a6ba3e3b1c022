"""Actions: what an answer of a fake registry can be made into."""

from __future__ import annotations

import gzip
from collections.abc import Callable

from attrs import evolve

from bootc.testing.registry.messages import Action, Framing, Received, Reply


def together(*actions: Action) -> Action:
    """All of them for one answer, each on what the one before it made."""

    def action(request: Received, reply: Reply) -> Reply:
        for one in actions:
            reply = one(request, reply)
        return reply

    return action


# ---------------------------------------------------------------- other answers


def answers(status: int, body: bytes = b"", **headers: str) -> Action:
    """This instead of the normal answer; `_` in names of headers stands for `-`."""
    return lambda request, reply: Reply(status, {name.replace("_", "-"): text for name, text in headers.items()}, body)


def redirects(target: str, status: int = 307) -> Action:
    """To another address; `{digest}` is the asked blob's."""

    def action(request: Received, reply: Reply) -> Reply:
        return Reply(status, {"Location": target.format(digest=request.path.rpartition("/")[2])}, b"moved")

    return action


def normal(request: Received, reply: Reply) -> Reply:
    """Let one pass."""
    return reply


def unanswered(request: Received, reply: Reply) -> Reply:
    """Not even a status, and no end."""
    return Reply(0, {}, b"", hold=True)


def hangs_up(request: Received, reply: Reply) -> Reply:
    """The end of the connection instead of an answer."""
    return Reply(0, {}, b"")


def resets(size: int | None = None) -> Action:
    """The connection is reset after so many bytes of the body; None: instead of an answer."""
    if size is None:
        return lambda request, reply: Reply(0, {}, b"", reset=True)
    return lambda request, reply: evolve(reply, send=size, reset=True)


# ---------------------------------------------------------------- the same, spoiled


def with_headers(**headers: str) -> Action:
    """The normal answer with other headers; an empty text leaves one out."""

    def action(request: Received, reply: Reply) -> Reply:
        for name, text in headers.items():
            reply.headers[name.replace("_", "-")] = text
        reply.headers = {name: text for name, text in reply.headers.items() if text}
        return reply

    return action


def with_more_headers(*headers: tuple[str, str]) -> Action:
    """The normal answer with headers behind its own; names may repeat."""
    return lambda request, reply: evolve(reply, more=[*reply.more, *headers])


def with_body(change: Callable[[bytes], bytes]) -> Action:
    """The normal answer with another body."""

    def action(request: Received, reply: Reply) -> Reply:
        reply.body = change(reply.body)
        return reply

    return action


def cut_after(size: int) -> Action:
    """The connection ends after so many bytes of the body."""

    def action(request: Received, reply: Reply) -> Reply:
        reply.send = size
        return reply

    return action


def holds(size: int) -> Action:
    """Nothing more after so many bytes of the body, but the connection stays."""

    def action(request: Received, reply: Reply) -> Reply:
        reply.send, reply.hold = size, True
        return reply

    return action


def drips(request: Received, reply: Reply) -> Reply:
    """A byte of the body now and then."""
    reply.drip = True
    return reply


def drips_head(request: Received, reply: Reply) -> Reply:
    """A byte of the headers now and then; there are many."""
    return evolve(reply, drip_head=True, more=[(f"X-{number}", "x" * 1000) for number in range(50)])


def framed(framing: Framing) -> Action:
    """The same body, its end told in another way."""
    return lambda request, reply: evolve(reply, framing=framing)


def repeated(times: int) -> Action:
    """The same body many times over, with the length of all."""
    return lambda request, reply: evolve(reply, repeat=times)


def endless(request: Received, reply: Reply) -> Reply:
    """A body that has no end, in chunks."""
    return evolve(reply, body=reply.body.ljust(1 << 16), repeat=1 << 30, framing=Framing.CHUNKED)


def compressed(request: Received, reply: Reply) -> Reply:
    """The normal answer, compressed on the way although nobody asked for it."""
    reply.body = gzip.compress(reply.body)
    reply.headers["Content-Encoding"] = "gzip"
    return reply


def ignores_range(request: Received, reply: Reply) -> Reply:
    """The whole blob, whatever was asked for."""
    return reply if reply.whole is None else Reply(200, {"Content-Type": "application/octet-stream"}, reply.whole)


def shifted_range(by: int) -> Action:
    """A range that begins so many bytes later than asked, and says that it is the right one."""

    def action(request: Received, reply: Reply) -> Reply:
        if reply.whole is not None:
            start = len(reply.whole) - len(reply.body) + by
            reply.body = reply.whole[start:].ljust(len(reply.body), b"!")[: len(reply.body)]
        return reply

    return action


# ---------------------------------------------------------------- what is no HTTP


def preceded_by(data: bytes, times: int = 1) -> Action:
    """Bytes before the status line, so many times."""
    return lambda request, reply: evolve(reply, before=data, before_times=times)


def headed(head: bytes) -> Action:
    """These bytes instead of status line and headers."""
    return lambda request, reply: evolve(reply, head=head)


def stops_in_head(head: bytes) -> Action:
    """These bytes, and nothing more; the connection stays."""
    return lambda request, reply: evolve(reply, head=head, send=0, hold=True)
