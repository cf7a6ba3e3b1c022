# Puts bootc's units and presets at their places. Runs inside the tree, as root, by /bin/sh.
set -eu
python3 -B - <<'PYTHON'
from pathlib import Path

from bootc.system.files import install

install(Path("/"), {})
PYTHON
