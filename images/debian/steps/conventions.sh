# Turns a Debian tree into the tree of a bootable image. Runs inside the tree, as root, by /bin/sh.
set -eu

# The kernel belongs to the image: /usr/lib/modules/VERSION/vmlinuz, where newer packages have it themselves. /boot belongs
# to the machine.
kernel=$(ls /usr/lib/modules)
for file in vmlinuz config; do
    [ -e "/usr/lib/modules/$kernel/$file" ] || mv "/boot/$file-$kernel" "/usr/lib/modules/$kernel/$file"
done
rm -rf /boot/* /initrd.img* /vmlinuz*

# Where the machine's disk and its ESP are mounted.
mkdir -p /sysroot /efi
ln -s sysroot/ostree /ostree

# What users and administrators write lives in /var; tmpfiles.d/bootc-layout.conf makes the targets.
for name in home srv opt mnt; do
    rm -rf "/$name"
    ln -s "var/$name" "/$name"
done
rm -rf /root /media /usr/local
ln -s var/roothome /root
ln -s run/media /media
ln -s ../var/usrlocal /usr/local

# The package database describes /usr, so it travels with it.
mkdir -p /usr/lib/sysimage
mv /var/lib/dpkg /usr/lib/sysimage/dpkg

# Files in a deployment all have one modification time, which would make Python distrust its compiled files
# and compile anew at each start. Compiled files of the kind "unchecked-hash" carry no time.
find /usr/lib/python3* -name __pycache__ -prune -exec rm -rf {} +
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /usr/lib/python3*

# Nothing of this machine: "uninitialized" makes the first boot a first boot.
printf 'uninitialized\n' > /etc/machine-id
rm -f /etc/hostname /etc/resolv.conf /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/.pwd.lock
rm -rf /var/* /run/* /tmp/* /dev/*
