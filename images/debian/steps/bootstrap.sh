#!/bin/sh
# Makes a Debian tree out of packages.
# usage: bootstrap.sh SUITE TREE PACKAGE,PACKAGE,...     as root, with SOURCE_DATE_EPOCH set
set -eu

# A testing suite's Release file may have expired, hence Check-Valid-Until. The excluded folders are what an image
# that nobody reads manuals on can spare; the CNI plugins come with skopeo's configuration and serve containers only.
exec mmdebstrap --quiet --mode=root --format=directory --variant=apt --components=main --architectures=amd64 \
    --include="$3" \
    --aptopt='Apt::Install-Recommends "false"' \
    --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/lib/cni/*' \
    "$1" "$2"
