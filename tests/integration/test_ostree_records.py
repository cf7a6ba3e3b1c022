"""Which deployments go when another one is made the default, and what an image says of its root."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pytest
from bootc_ostree import _unavailable, prepare_root
from bootc_ostree.records import expendable

from bootc.deployment import BootEntry, Deployment, DeploymentId, KernelArguments
from bootc.errors import ImageError
from bootc.storage import Tree


def deployment(name: str, **fields: object) -> Deployment:
    """One whose flags are letters after a colon: (b)ooted, (p)inned, (o)ther stateroot."""
    label, _, flags = name.partition(":")
    identity = DeploymentId(label)
    entry = BootEntry(identity, label, "1", PurePosixPath("kernel"), (), KernelArguments())
    return Deployment(
        id=identity,
        stateroot="other" if "o" in flags else "default",
        image=None,
        reference=None,
        arguments=KernelArguments(),
        boot_digest=None,
        entry=entry,
        is_booted="b" in flags,
        is_pinned="p" in flags,
    )


CASES = {
    "nothing is there": ([], set()),
    "the booted one stays": (["a:b"], set()),
    "the rollback goes": (["a:b", "b"], {"b"}),
    "after a queued rollback the booted one still stays": (["a", "b:b"], {"a"}),
    "pinned ones stay": (["a:b", "b:p", "c"], {"c"}),
    "other stateroots stay": (["a:b", "b:o", "c:o"], set()),
    "what runs in another stateroot stays, and the default of this one": (["a", "b", "c:ob"], {"b"}),
    "without a booted one the default is the rollback": (["a", "b", "c:p"], {"b"}),
}


@pytest.mark.parametrize(("present", "gone"), CASES.values(), ids=CASES)
def test_what_goes_when_a_new_deployment_is_made_the_default(present: list[str], gone: set[str]) -> None:
    assert expendable([deployment(name) for name in present], "default") == gone


class Files(Tree):
    """A tree with one file at most."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def open(self, path: PurePosixPath) -> BinaryIO:
        if self._text is None or path != PurePosixPath("usr/lib/ostree/prepare-root.conf"):
            raise FileNotFoundError(str(path))
        return io.BytesIO(self._text.encode())

    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        return ()

    def directory(self) -> AbstractContextManager[Path]:
        raise FileNotFoundError("only one file is read")


@pytest.mark.parametrize(
    ("text", "is_writable"),
    [
        (None, False),
        ("", False),
        ("[sysroot]\nreadonly=true\n", False),
        ("[composefs]\nenabled=no\n", False),
        ("[composefs]\nenabled = maybe\n", True),
        ("[composefs]\nenabled=signed\n", True),
        ("[composefs]\nenabled=Verity\n", True),
        ("[root]\ntransient = TRUE\n", True),
        ("[root]\ntransient=false\n[composefs]\nenabled=1\n", True),
    ],
)
def test_whether_the_root_can_hold_more_is_read_from_the_image(text: str | None, is_writable: bool) -> None:
    assert prepare_root.has_writable_root(Files(text)) is is_writable


def test_a_broken_configuration_of_the_root_is_an_error() -> None:
    with pytest.raises(ImageError, match=r"prepare-root\.conf"):
        prepare_root.has_writable_root(Files("not a key file"))


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _unavailable() is None
    (tmp_path / "OSTree-1.0.typelib").touch()
    monkeypatch.setattr("bootc_ostree._LIBRARIES", ())
    monkeypatch.setenv("GI_TYPELIB_PATH", str(tmp_path / "elsewhere"))
    assert "OSTree-1.0.typelib is missing" in (_unavailable() or "")
    monkeypatch.setenv("GI_TYPELIB_PATH", f"/nowhere:{tmp_path}")
    assert _unavailable() is None
