"""Whom to trust on a connection: the system's authorities, and certs.d (containers-certs.d(5))."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from bootc_containers.places import Places

from bootc.errors import ConfigError


def context_for(authority: str, root: Path = Path("/"), *, is_checked: bool = True) -> ssl.SSLContext:
    """For connections to HOST[:PORT], spelled as in the image's name. Raises ConfigError for bad files in certs.d."""
    # Reading all authorities takes longer than many a request, and nobody asks them where nothing is checked.
    context = ssl.create_default_context() if is_checked else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Python 3.13 would refuse private authorities that podman, skopeo and older Pythons accept.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if _is_address(authority):
        # urllib3 before 2.0 cannot have OpenSSL check an address; every urllib3 checks it itself if OpenSSL does not.
        context.check_hostname = False
    if not is_checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    directory = Places(root).certificates(authority)
    if directory is not None:
        _load(context, directory)
    return context


def _is_address(authority: str) -> bool:
    host = urlsplit(f"//{authority}").hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _load(context: ssl.SSLContext, directory: Path) -> None:
    for path in _listed(directory):
        try:
            if path.suffix == ".crt":
                if path.exists():  # Distributions leave links behind that lead nowhere.
                    context.load_verify_locations(path)
            elif path.suffix == ".cert":
                # Without a password, OpenSSL would ask for that of an encrypted key.
                context.load_cert_chain(path, path.with_suffix(".key"), password="")
            elif path.suffix == ".key" and not path.with_suffix(".cert").exists():
                raise FileNotFoundError
        except FileNotFoundError as error:
            hint = "a client certificate is a pair NAME.cert and NAME.key; an authority's certificate is NAME.crt"
            raise ConfigError(str(path), None, "the other file of the pair is missing", hint) from error
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(str(path), None, "not a certificate (or key without a password) in PEM form") from error


def _listed(directory: Path) -> list[Path]:
    """Nothing for a directory that is somebody else's, as podman has it."""
    try:
        return sorted(directory.iterdir())
    except PermissionError:
        return []
    except OSError as error:
        raise ConfigError(str(directory), None, f"cannot be read: {error.strerror}") from error
