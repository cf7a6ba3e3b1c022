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
    instmods efivarfs
}

install() {
    inst_multiple sh cat mkdir mount sleep systemctl
    inst_simple /usr/lib/bootc/initramfs/mount-root
    inst_simple /usr/lib/bootc/initramfs/version
    inst_simple "$moddir/bootc-root.service" "$systemdsystemunitdir/bootc-root.service"
    mkdir -p "$initdir$systemdsystemunitdir/initrd-root-fs.target.wants"
    ln -s ../bootc-root.service "$initdir$systemdsystemunitdir/initrd-root-fs.target.wants/bootc-root.service"
}
