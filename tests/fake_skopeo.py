"""A stand-in for `skopeo experimental-image-proxy` that speaks any version of the protocol and fails in any way.

Run as `fake_skopeo.py SCENARIO ARGUMENTS…`: SCENARIO is a JSON file {version, layout, record, faults}. A fault is named
after a method; the list of its kinds is used up, one for each call, over all processes (`record` counts them).
It keeps to what skopeo does: one request after the other, and a pipe's write end stays open until FinishPipe.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

DOCKER = b'"mediaType": "application/vnd.docker.distribution.manifest.v2+json"'
NEEDED = {"GetLayerInfo": 5, "GetLayerInfoPiped": 7, "GetRawBlob": 8}


class Refusal(Exception):
    """A reply with `success: false`; the code is of protocol 0.2.8."""

    def __init__(self, text: str, code: str = "other") -> None:
        super().__init__(text)
        self.text, self.code = text, code


class Fake:
    """One process."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.level = int(scenario["version"].rpartition(".")[2])
        self.version, self.layout = scenario["version"], Path(scenario["layout"])
        self.faults, self.record = scenario["faults"], Path(scenario["record"])
        self.served: dict[str, dict[str, str]] = scenario.get("served", {})
        self.socket = socket.socket(fileno=0)
        self.writers: dict[int, tuple[threading.Thread, list[Refusal]]] = {}
        self.note({"pid": os.getpid(), "argv": sys.argv[2:], "environment": sorted(os.environ)})

    def note(self, entry: dict[str, Any]) -> None:
        with self.record.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def fault(self, method: str) -> str:
        kinds = self.faults.get(method, [])
        used = sum(json.loads(line).get("fault") == method for line in self.record.read_text().splitlines())
        if used >= len(kinds):
            return ""
        self.note({"fault": method})
        return str(kinds[used])

    def run(self) -> None:
        while packet := self.socket.recv(32 << 10):
            request = json.loads(packet)
            method, arguments = request["method"], request["args"]
            self.note({"method": method, "args": arguments})
            self.answer(method, arguments, self.fault(method))

    def answer(self, method: str, arguments: list[Any], fault: str) -> None:
        descriptors: tuple[int, ...] = ()
        reply: dict[str, Any] = {"success": True, "value": None, "pipeid": 0, "error": ""}
        try:
            self.break_(fault)
            if NEEDED.get(method, 0) > self.level:
                raise Refusal(f"unknown method: {method}")
            value, pipe, descriptors = getattr(self, re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower())(
                *arguments, fault=fault
            )
            reply |= {"value": value, "pipeid": pipe}
        except Refusal as refusal:
            reply |= {"success": False, "error": refusal.text}
            if self.level >= 8:
                reply["error_code"] = refusal.code
        if fault == "no descriptors":
            descriptors = ()
        socket.send_fds(self.socket, [json.dumps(reply).encode()], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def break_(self, fault: str) -> None:
        """Faults that any method can have."""
        if fault == "die":
            print('time="now" level=fatal msg="out of \\"luck\\""', file=sys.stderr)
            sys.stderr.flush()
            os._exit(3)
        elif fault == "garbage":
            self.socket.send(b"[1, 2]")
        elif fault == "too long":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            self.socket.send(b" " * (400 << 10))
        elif fault == "silence":
            signal.pause()
        elif fault.startswith("error:"):
            raise Refusal(fault.removeprefix("error:"))
        elif fault.startswith("retryable:"):
            raise Refusal(fault.removeprefix("retryable:"), "retryable")

    # ------------------------------------------------------------ methods

    def initialize(self, *, fault: str) -> tuple[Any, int, tuple[int, ...]]:
        return fault.removeprefix("version ") if fault else self.version, 0, ()

    def open_image(self, name: str, *, fault: str) -> tuple[Any, int, tuple[int, ...]]:
        return 0 if fault == "no image" else 1, 0, ()

    def get_manifest(self, image: int, *, fault: str) -> tuple[Any, int, tuple[int, ...]]:
        digest = json.loads((self.layout / "index.json").read_bytes())["manifests"][0]["digest"]
        data = self.blob(digest)
        if fault == "other manifest":
            data = data.replace(b'"schemaVersion"', DOCKER + b', "schemaVersion"')
        if fault == "endless":
            data = b" " * (8 << 20)
        return self.piped(digest, data, fault)

    def get_full_config(self, image: int, *, fault: str) -> tuple[Any, int, tuple[int, ...]]:
        raise Refusal("not in this test")

    def get_blob(self, image: int, digest: str, size: int, *, fault: str) -> tuple[Any, int, tuple[int, ...]]:
        data = self.blob(digest)
        refusal = None if size == len(data) else Refusal(f"expected {size} bytes in blob, got {len(data)}")
        if fault == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if hashlib.sha256(data).hexdigest() != digest.partition(":")[2]:
            refusal = Refusal(f"corrupted blob, expecting {digest}, got sha256:0000")
        return self.piped(len(data), data, fault, refusal)

    def get_raw_blob(self, image: int, digest: str, *, fault: str) -> tuple[Any, int, tuple[int, ...]]:
        data = self.blob(digest)
        reader, writer = os.pipe()
        problem_reader, problem = os.pipe()
        threading.Thread(target=self.write_raw, args=(writer, problem, data, fault), daemon=True).start()
        return len(data), 0, (reader, problem_reader)

    def get_layer_info(self, image: int, *, fault: str) -> tuple[Any, int, tuple[int, ...]]:
        return self.layers(fault), 0, ()

    def get_layer_info_piped(self, image: int, *, fault: str) -> tuple[Any, int, tuple[int, ...]]:
        data = b"{" if fault == "bad" else json.dumps(self.layers(fault)).encode()
        return self.piped(None, data, fault)

    def finish_pipe(self, pipe: int, *, fault: str) -> tuple[Any, int, tuple[int, ...]]:
        thread, refusals = self.writers.pop(pipe)
        thread.join()
        os.close(pipe)
        if refusals:
            raise refusals[0]
        return None, 0, ()

    # ------------------------------------------------------------ data

    def blob(self, digest: str) -> bytes:
        path = self.layout / "blobs" / digest.replace(":", "/")
        if not path.exists():
            raise Refusal(f'locating item named "{digest}": file does not exist')
        return path.read_bytes()

    def layers(self, fault: str) -> list[dict[str, Any]]:
        index = json.loads((self.layout / "index.json").read_bytes())
        manifest = json.loads(self.blob(index["manifests"][0]["digest"]))
        config = json.loads(self.blob(manifest["config"]["digest"]))
        found = [
            {
                "digest": digest,
                "size": -1 if fault == "no size" else len(self.blob(digest)),
                "media_type": "a/b.tar.gzip",
            }
            for digest in config["rootfs"]["diff_ids"]
        ]
        return found[1:] if fault == "too few" else found

    def piped(
        self, value: Any, data: bytes, fault: str, refusal: Refusal | None = None
    ) -> tuple[Any, int, tuple[int, ...]]:
        reader, writer = os.pipe()
        refusals = [refusal] if refusal else []
        thread = threading.Thread(target=self.write, args=(writer, data, fault, refusals), daemon=True)
        self.writers[writer] = (thread, refusals)
        thread.start()
        return value, writer, (reader,)

    def write(self, pipe: int, data: bytes, fault: str, refusals: list[Refusal]) -> None:
        if fault in ("truncate", "die in the middle"):
            data = data[: len(data) // 2]
            refusals[:] = [Refusal("unexpected EOF")]
        try:
            write_all(pipe, data)
        except BrokenPipeError:
            refusals[:] = [Refusal("write |1: broken pipe", "EPIPE")]
        if fault == "die in the middle":
            os.kill(os.getpid(), signal.SIGKILL)

    def write_raw(self, data_pipe: int, problem_pipe: int, data: bytes, fault: str) -> None:
        problem: dict[str, str] | None = None
        if fault in ("truncate", "bad reason", "die in the middle", "end early"):
            data = data[: len(data) // 2]
            problem = {"code": "retryable", "message": "unexpected EOF"}
        try:
            write_all(data_pipe, data)
        except BrokenPipeError:
            problem = {"code": "EPIPE", "message": "broken pipe"}
        if fault == "die in the middle":
            os.kill(os.getpid(), signal.SIGKILL)
        os.close(data_pipe)
        if problem and fault != "end early":
            write_all(problem_pipe, b"?" if fault == "bad reason" else json.dumps(problem).encode())
        os.close(problem_pipe)


def write_all(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]


if __name__ == "__main__":
    Fake(json.loads(Path(sys.argv[1]).read_bytes())).run()
