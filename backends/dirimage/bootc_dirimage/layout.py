"""What lies where, below the sysroot.

    dirimage/
      bootc/                 records of the core
      layers/HEX.tar.zst     verified layers, named by diffID
      slots/KEY/             one image: `tree/`, its files; `image.json`; `digests`
      …                      state, deployments and /var, as `bootc.roots.layout` tells

KEY is `NUMBER-DIGEST`, as the names of deployments are.
"""

from __future__ import annotations

from bootc.roots import Layout

LAYOUT = Layout("dirimage", numbered=("slots",))
LAYERS = LAYOUT.base / "layers"
SLOTS = LAYOUT.base / "slots"

IMAGE, TREE, DIGESTS = "image.json", "tree", "digests"
