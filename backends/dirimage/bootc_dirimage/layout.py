"""What lies where, below the sysroot.

    dirimage/
      bootc/                 records of the core
      slots/KEY/             one image: `tree/`, its files; `image.json`; `digests` of all files; `layers/HEX`, what
                             each layer holds, by diffID
      …                      state, deployments and /var, as `bootc.roots.layout` tells

KEY is `NUMBER-DIGEST`, as the names of deployments are.
"""

from __future__ import annotations

from bootc.roots.layout import Layout

LAYOUT = Layout("dirimage", numbered=("slots",))
SLOTS = LAYOUT.base / "slots"

IMAGE, TREE, DIGESTS, LAYERS = "image.json", "tree", "digests", "layers"
