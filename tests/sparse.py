"""Disks in files that are mostly holes."""

import subprocess
from pathlib import Path


def copy_disk(disk: Path, path: Path) -> Path:
    """A copy that is as sparse."""
    subprocess.run(["cp", "--sparse=always", disk, path], check=True)
    return path
