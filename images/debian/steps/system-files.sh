# Puts bootc's units, presets and completions at their places. Runs inside the tree, as root, by /bin/sh.
set -eu
bootc internals install-system-files / > /dev/null
