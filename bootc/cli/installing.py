"""What `install to-disk` and `install to-filesystem` have in common: options, preparation, the last line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click
from attrs import evolve

from bootc import host, platform
from bootc.cli.following import anchored, named
from bootc.cli.options import GlobalOptions
from bootc.cli.parameters import TRANSPORTS, authfile_option, kernel_text, stateroot
from bootc.cli.progress import listening
from bootc.cli.terminal import out_lines
from bootc.errors import FileSystemError, UsageError
from bootc.image import ImageReference
from bootc.installer import Installed, InstallOptions, target_reference
from bootc.session import Session

_OPTIONS = (
    click.option(
        "--source-imgref", metavar="REF", help="Image to install, e.g. docker://NAME; default: our container."
    ),
    click.option("--target-imgref", metavar="NAME", help="Image that upgrades follow; default: the source."),
    click.option(
        "--target-transport",
        type=click.Choice(TRANSPORTS),
        metavar="TRANSPORT",
        default="registry",
        show_default=True,
        help=f"Where upgrades come from: {', '.join(TRANSPORTS)}.",
    ),
    click.option(
        "--enforce-container-sigpolicy",
        is_flag=True,
        help="Upgrades refuse a policy.json that accepts unsigned images.",
    ),
    click.option("--run-fetch-check", is_flag=True, help="First see whether the image for upgrades can be fetched."),
    authfile_option,
    click.option(
        "--karg",
        "kargs",
        type=kernel_text,
        multiple=True,
        metavar="ARG",
        help="Add a kernel argument; may be repeated.",
    ),
    click.option(
        "--karg-delete",
        "karg_deletes",
        type=kernel_text,
        multiple=True,
        metavar="KEY[=VALUE]",
        help="Remove kernel arguments first.",
    ),
    click.option(
        "--stateroot", type=stateroot, metavar="NAME", help="Owner of /var and its deployments.  [default: default]"
    ),
    click.option(
        "--backend",
        "own_backend",
        metavar="NAME",
        help="Storage backend; default: configuration, then the image's label, then ostree.",
    ),
    click.option("--composefs-backend", is_flag=True, help="The same as --backend composefs."),
    click.option("--bootloader", "own_bootloader", metavar="NAME", help="Bootloader to install; see `bootc plugins`."),
    click.option(
        "--root-ssh-authorized-keys",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Let the owners of these keys log in as root.",
    ),
    click.option("--disable-selinux", is_flag=True, help="Add selinux=0 to the kernel arguments."),
    click.option("--generic-image", is_flag=True, expose_value=False, help="Accepted; every installation is generic."),
    click.option("--skip-fetch-check", is_flag=True, hidden=True, expose_value=False),
    click.option("--target-no-signature-verification", is_flag=True, hidden=True, expose_value=False),
)


def install_options(function: Callable[..., None]) -> Callable[..., None]:
    """Options of both commands; the function gets them as one `InstallOptions`, after the global options."""

    @wraps(function)
    def wrapper(options: GlobalOptions, **values: Any) -> None:
        backend = _backend(options, values.pop("own_backend"), values.pop("composefs_backend"))
        options = evolve(options, authfile=values.pop("authfile"), backend=backend)
        is_checked = values.pop("run_fetch_check")
        chosen = _chosen(options, values)
        function(options, chosen, is_checked, **values)

    decorated: Callable[..., None] = click.pass_obj(wrapper)
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


@contextmanager
def prepared(options: GlobalOptions, chosen: InstallOptions, is_checked: bool) -> Iterator[Session]:
    """A session for writing to a target; with `is_checked`, after a look at the image for upgrades."""
    if options.sysroot is not None:
        raise UsageError("--sysroot is for installed systems", "name the target as the argument")
    host.require_root()
    host.enter_private_namespace()
    with listening(is_verbose=options.is_verbose) as report, host.Signals().active() as signals:
        opened = Session(options.selection, report, signals)
        if is_checked:
            _check_target(opened, chosen)
        yield opened


def announce(installed: Installed) -> None:
    """The last lines."""
    out_lines((f"Bootloader: {installed.bootloader}", "Installation complete!"))


def _backend(options: GlobalOptions, own: str | None, is_composefs: bool) -> str | None:
    """The one backend that the options name, however often."""
    named = {name for name in (options.backend, own, "composefs" if is_composefs else None) if name}
    if len(named) > 1:
        raise UsageError(f"several backends are chosen: {', '.join(sorted(named))}")
    return next(iter(named), None)


def _chosen(options: GlobalOptions, values: dict[str, Any]) -> InstallOptions:
    """Takes the common options out of `values`."""
    source, target = values.pop("source_imgref"), values.pop("target_imgref")
    transport, keys = values.pop("target_transport"), values.pop("root_ssh_authorized_keys")
    return InstallOptions(
        source=None if source is None else anchored(ImageReference.parse(source)),
        target=None if target is None else named(target, transport, "--target-transport"),
        stateroot=values.pop("stateroot"),
        arguments=values.pop("kargs"),
        deleted_arguments=values.pop("karg_deletes"),
        root_ssh_keys=_read(keys) if keys else None,
        bootloader=values.pop("own_bootloader") or options.bootloader,
        is_selinux_disabled=values.pop("disable_selinux"),
        enforce_signature_policy=values.pop("enforce_container_sigpolicy"),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileSystemError(str(path), error.strerror or str(error)) from error


def _check_target(session: Session, chosen: InstallOptions) -> None:
    reference = target_reference(session, chosen)
    with session.fetcher(reference) as fetcher, fetcher.resolve(reference, platform.current()):
        return
