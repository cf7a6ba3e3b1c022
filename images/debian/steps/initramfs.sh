# Builds the initramfs of the image's kernel beside it. Runs inside the tree, as root, by /bin/sh.
set -eu
kernel=$(ls /usr/lib/modules)
mkdir -p /var/tmp /var/roothome
dracut --quiet --force --no-hostonly --kver "$kernel" "/usr/lib/modules/$kernel/initramfs.img"
chmod 0644 "/usr/lib/modules/$kernel/initramfs.img"
