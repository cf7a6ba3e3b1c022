#!/bin/bash
# dracut module: mounts the root of a bootc deployment by its mount plan. It goes into an initramfs that asks for it:
# dracutmodules+=" bootc-root "

check() {
    return 255
}

depends() {
    echo systemd
}

installkernel() {
    instmods efivarfs loop erofs overlay
}

install() {
    inst_multiple sh cat mkdir mount umount modprobe sleep systemctl
    # Measures composefs images where they must be verified; without it, only such deployments do not boot.
    inst_multiple -o fsverity
    inst_simple /usr/lib/bootc/initramfs/mount-root
    inst_simple /usr/lib/bootc/initramfs/version
    inst_simple "$moddir/bootc-root.service" "$systemdsystemunitdir/bootc-root.service"
    mkdir -p "$initdir$systemdsystemunitdir/initrd-root-fs.target.wants"
    ln -s ../bootc-root.service "$initdir$systemdsystemunitdir/initrd-root-fs.target.wants/bootc-root.service"
    # Whatever fails in the initramfs ends in emergency.target.
    inst_simple "$moddir/bootc-emergency.service" "$systemdsystemunitdir/bootc-emergency.service"
    mkdir -p "$initdir$systemdsystemunitdir/emergency.target.wants"
    ln -s ../bootc-emergency.service "$initdir$systemdsystemunitdir/emergency.target.wants/bootc-emergency.service"
}
