"""Certificates for fake registries, good and bad, made by openssl."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen

from bootc.machine import Command

_KIND = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_NAMES = "DNS:localhost,IP:127.0.0.1,IP:127.0.0.2"
_BEFORE = timedelta(minutes=5)
"""what certificates are older than they must be"""
_ISSUING = """\
[ca]
default_ca = authority
[authority]
database = {folder}/issued
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
copy_extensions = copy
x509_extensions = signed
[any]
commonName = supplied
[signed]
authorityKeyIdentifier = keyid
"""
"""how `openssl ca` is to issue: of its commands the only one that takes two dates in every version"""


@frozen
class Certificate:
    """A certificate and its key, both in PEM form."""

    certificate: Path
    key: Path


@frozen
class Authority:
    """Who vouches for certificates, in a directory of its own."""

    folder: Path
    own: Certificate

    @classmethod
    def create(cls, folder: Path, name: str = "authority") -> Authority:
        """The one of this name, made if it is not there."""
        own = _files(folder, name)
        if not own.certificate.exists():
            usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # RFC 5280; Python demands it since 3.13
            _openssl("req", "-x509", *_KIND, "-subj", f"/CN={name}", "-days", "2", *usage, *_out(own))
        return cls(folder, own)

    def certificate(self, name: str = "server", names: str = _NAMES, days: int = 1) -> Certificate:
        """A certificate for these names (subjectAltName); with -1 days it is over already."""
        made = _files(self.folder, name)
        request = made.certificate.with_suffix(".csr")
        extension = ("-addext", f"subjectAltName={names}")
        _openssl("req", *_KIND, "-subj", f"/CN={name}", *extension, "-keyout", str(made.key), "-out", str(request))
        configuration = self.folder / "issuing.cnf"
        configuration.write_text(_ISSUING.format(folder=self.folder))
        (self.folder / "issued").touch()
        signer = ("-config", str(configuration), "-cert", str(self.own.certificate), "-keyfile", str(self.own.key))
        end = datetime.now(UTC) + timedelta(days)
        dates = ("-startdate", _date(min(end, datetime.now(UTC)) - _BEFORE), "-enddate", _date(end))
        _openssl("ca", "-batch", "-notext", *signer, *dates, "-in", str(request), "-out", str(made.certificate))
        return made


def self_signed(folder: Path) -> Certificate:
    """A certificate that nobody but itself vouches for."""
    made = _files(folder, "self-signed")
    extension = ("-addext", f"subjectAltName={_NAMES}")
    _openssl("req", "-x509", *_KIND, "-subj", "/CN=localhost", "-days", "1", *extension, *_out(made))
    return made


def _date(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%SZ")


def _files(folder: Path, name: str) -> Certificate:
    return Certificate(folder / f"{name}.crt", folder / f"{name}.key")


def _out(made: Certificate) -> tuple[str, ...]:
    return "-keyout", str(made.key), "-out", str(made.certificate)


def _openssl(*arguments: str) -> None:
    Command(("openssl", *arguments), "make certificates for tests").run()
