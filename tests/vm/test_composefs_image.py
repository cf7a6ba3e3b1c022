"""The EROFS image of the sample image is the one that mkcomposefs makes of the same tree; no machine boots."""

from __future__ import annotations

from pathlib import Path

import pytest
from bootc_composefs.erofs import Versions, read_image

from tests.composefs_trees import dump_of
from tests.integration.get_mkcomposefs import mkcomposefs
from tests.integration.sysroots import install, make_disk, mounted

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.brief, pytest.mark.usefixtures("own_mounts")]

GIB = 1 << 30


def test_mkcomposefs_makes_the_same_of_the_sample_image(tmp_path: Path, image_layout: Path) -> None:
    disk = make_disk(tmp_path / "disk", 3 * GIB)
    with mounted(disk, tmp_path / "target") as root:
        run = install(root, f"oci:{image_layout}:v1", "--skip-finalize", "--backend", "composefs")
        assert run.code == 0, run.err
        (plan,) = root.glob("composefs/deployments/*/mounts")
        word, path, *_ = plan.read_text().splitlines()[1].split()
        assert word == "composefs"
        image = (root / path).read_bytes()
    disk.unlink()
    dump = dump_of(read_image(image).root)
    assert dump.count(b"\n") > 5000, "the sample image has many more files"
    assert mkcomposefs(dump, Versions.ONLY_1.value, tmp_path) == image
