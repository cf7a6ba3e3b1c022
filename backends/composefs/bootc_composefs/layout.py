"""What lies where, below the sysroot.

    composefs/
      bootc/                 records of the core
      repository.json        what was decided when it was made: algorithm, format of images, whether verity is required
      objects/xx/…           contents and EROFS images, named by fs-verity digest; immutable, and shared by all images
      layers/HEX             the entries of a layer, named by diffID (`bootc_composefs.layer_file`)
      images/KEY.json        an image: manifest, config, layers, and the digest of its EROFS image
      incoming/              objects that are being written
      checkouts/             directories of images, while they are read as such
      …                      state, deployments and /var, as `bootc.roots.layout` tells

KEY is the digest of the manifest. What lies in `incoming` and `checkouts` counts for nothing.
"""

from __future__ import annotations

from bootc.roots.layout import Layout

LAYOUT = Layout("composefs")
REPOSITORY = LAYOUT.base / "repository.json"
OBJECTS = LAYOUT.base / "objects"
LAYERS = LAYOUT.base / "layers"
IMAGES = LAYOUT.base / "images"
INCOMING = LAYOUT.base / "incoming"
CHECKOUTS = LAYOUT.base / "checkouts"

PRIVATE = (OBJECTS, LAYERS, INCOMING, CHECKOUTS)
"""for root alone: contents are in there without the modes that protect them in the image"""
SUFFIX = ".json"
