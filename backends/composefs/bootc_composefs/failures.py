"""Failures of this backend's own formats; all are StoreError or FileSystemError to the core."""

from __future__ import annotations

from bootc.errors import FileSystemError, StoreError


class TreeError(StoreError):
    """A file tree that no composefs image can hold. `path` is the node's, escaped as in a dump."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(f"composefs: {path}", problem)


class DumpError(StoreError):
    """A line of a composefs dump that says nothing valid. Lines count from 1."""

    def __init__(self, line: int, problem: str) -> None:
        self.line = line
        super().__init__(f"composefs dump, line {line}", problem)


class ImageDamageError(StoreError):
    """Bytes that are no composefs image, or a truncated or altered one."""

    def __init__(self, problem: str) -> None:
        super().__init__("composefs image", problem, "`bootc upgrade` writes the image again from its layers")


class VerityError(FileSystemError):
    """A file's fs-verity could not be enabled or measured."""


class VerityUnsupportedError(VerityError):
    """The kernel or the filesystem has no fs-verity, or not with this hash or block size."""


class VerityMissingError(VerityError):
    """The file has no fs-verity enabled."""


class VerityBusyError(VerityError):
    """The file is open for writing, or another process is enabling fs-verity on it."""


class LayerFileError(StoreError):
    """The kept entries of a layer are damaged."""

    def __init__(self, problem: str) -> None:
        super().__init__("entries of a layer", problem, "the next import reads the layer again")


class ObjectError(StoreError):
    """An object is missing, or its content is not what its name says."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem, "remove it; the next import of an image that has it brings it back")
