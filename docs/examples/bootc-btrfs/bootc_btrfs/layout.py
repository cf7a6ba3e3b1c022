"""What lies where, below the sysroot.

btrfs/
  bootc/               records of the core
  layers/HEX           the tree after some layers, named by their chain ID: a read-only snapshot
  images/HEX           the tree of an image, named by its manifest digest: a read-only snapshot
  images/HEX.json      its manifest, config and layers; with this record it counts
  …                    state, deployments and /var, as `bootc.roots.layout` tells
"""

from __future__ import annotations

from bootc.roots.layout import Layout

LAYOUT = Layout("btrfs")
LAYERS = LAYOUT.base / "layers"
IMAGES = LAYOUT.base / "images"
