"""Servers on loopback that tests and demonstrations talk to: a real container registry that remembers its requests.

Only the standard library is used; docker-registry, skopeo and openssl are Debian's.
"""

import http.client
import itertools
import json
import re
import ssl
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

USER, PASSWORD = "demo", "secret"
HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
"""An htpasswd file (bcrypt, the only kind that the registry takes) for USER and PASSWORD."""

_LISTENING = re.compile(rb'"msg":"listening on [^"]*:(\d+)')
_ACCESS = re.compile(
    r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d+) (?P<size>\d+) "[^"]*" "(?P<agent>[^"]*)"'
)


class ServerError(Exception):
    """A server did not start or end as it should; the message ends with what it said."""


@dataclass(frozen=True)
class Request:
    """One answered request: `size` is the length of the answer's body in bytes."""

    method: str
    path: str
    status: int
    size: int
    agent: str


@dataclass(frozen=True)
class Certificate:
    """A TLS certificate and its key, both in PEM form; the certificate is its own authority."""

    certificate: Path
    key: Path


class RegistryServer:
    """`docker-registry serve` on loopback, as a context manager; QEMU's guests reach it as 10.0.2.2.

    The folder holds the configuration, the images (`data`) and the logs; a server started again on the same folder has
    the same images. Port 0 takes a free one. With `htpasswd`, the content
    of such a file, the registry asks for a name and a password.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        htpasswd: str | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        self.folder = folder
        self.host = host
        self.port = port
        self.certificate = certificate
        self._htpasswd = htpasswd
        self._process: subprocess.Popen[bytes] | None = None
        self._marks = itertools.count(1)
        self._name = uuid.uuid4().hex

    @property
    def address(self) -> str:
        """`HOST:PORT`, as it stands in front of an image's name."""
        return f"{self.host}:{self.port}"

    @property
    def access_log(self) -> Path:
        """The requests in the combined log format of web servers; `requests` reads it."""
        return self.folder / "access.log"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "config.json"
        configuration.write_text(json.dumps(self._configuration()))
        log = self.folder / "registry.log"
        with self.access_log.open("ab") as requests, log.open("wb") as messages:
            command = ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", str(configuration)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=requests, stderr=messages)
        deadline = time.monotonic() + 30
        while not (listening := _LISTENING.search(log.read_bytes())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise ServerError(f"the registry does not listen: {log.read_text()}")
            time.sleep(0.02)
        self.port = int(listening[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def push(self, layout: Path, tag: str, name: str) -> str:
        """Copy an image of an OCI layout to `name` (`repository:tag`) as it is; returns the digest of its manifest."""
        digest = self.folder / "digest"
        credentials = ["--dest-creds", f"{USER}:{PASSWORD}"] if self._htpasswd else []
        options = ["--preserve-digests", "--dest-tls-verify=false", *credentials, "--digestfile", str(digest)]
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", *options]
        target = f"docker://{self.address}/{name}"
        done = subprocess.run([*command, f"oci:{layout}:{tag}", target], capture_output=True, text=True)
        if done.returncode:
            raise ServerError(f"skopeo could not push {tag} to {target}: {done.stderr}")
        return digest.read_text().strip()

    def requests(self) -> list[Request]:
        """The requests answered so far, oldest first, over all starts of this folder.

        The registry writes its log after the answer, so one more request is sent and waited for; it is left out.
        """
        mark = f"/v2/?mark={self._name}-{next(self._marks)}"
        self._get(mark)
        deadline = time.monotonic() + 10
        while f"GET {mark} " not in (text := self.access_log.read_text(errors="replace")):
            if time.monotonic() > deadline:
                raise ServerError(f"the registry does not log its requests: {text[-500:]}")
            time.sleep(0.01)
        return [
            Request(match["method"], match["path"], int(match["status"]), int(match["size"]), match["agent"])
            for match in _ACCESS.finditer(text)
            if "/v2/?mark=" not in match["path"]
        ]

    def _get(self, path: str) -> None:
        if self.certificate:
            context = ssl.create_default_context(cafile=str(self.certificate.certificate))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self.address, context=context, timeout=10
            )
        else:
            connection = http.client.HTTPConnection(self.address, timeout=10)
        connection.request("GET", path)
        connection.getresponse().read()
        connection.close()

    def _configuration(self) -> dict[str, object]:
        settings: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}, "delete": {"enabled": True}},
        }
        listen: dict[str, object] = {"addr": self.address, "secret": self._name}
        if self.certificate:
            listen["tls"] = {"certificate": str(self.certificate.certificate), "key": str(self.certificate.key)}
        if self._htpasswd:
            users = self.folder / "htpasswd"
            users.write_text(self._htpasswd)
            settings["auth"] = {"htpasswd": {"realm": "registry", "path": str(users)}}
        return {**settings, "http": listen}

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None


def make_certificate(folder: Path) -> Certificate:
    """A fresh certificate for loopback under all its names, and for the host as QEMU's guests see it."""
    made = Certificate(folder / "server.crt", folder / "server.key")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1,IP:10.0.2.2"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    command = [
        "openssl",
        "req",
        "-x509",
        *kind,
        "-addext",
        names,
        "-keyout",
        str(made.key),
        "-out",
        str(made.certificate),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return made
