# Everything here is meant for a fresh Debian 12 (or newer) machine, as root.
#   make demo        sets up, builds the sample image, and runs the whole story in a virtual machine;
#                    BACKEND=ostree|composefs|dirimage, BOOTLOADER, SUITE=trixie|forky, FETCHER, FILESYSTEM choose
#   make test        sets up and runs all tests
#   make test-quick  the part of the tests that takes under two minutes
#   make test-vm     every test that boots a machine, the whole matrix (hours)
#   make crash       the long campaign of power cuts, in a model and on the disks of virtual machines (hours)
#   make bench       ratios against other tools
#   make fuzz        hostile input for every parser, ten minutes each; TIME=SECONDS chooses

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
VENV := .venv
TOX := $(VENV)/bin/tox
SUITE ?= trixie
BACKEND ?= ostree
BOOTLOADER ?=
TIME ?= 600
PYTHONPATH := $(CURDIR)
export SUITE BACKEND BOOTLOADER PYTHONPATH
export DEBIAN_FRONTEND := noninteractive

PACKAGES := ostree gir1.2-ostree-1.0 python3-gi python3-venv skopeo podman crun buildah docker-registry apache2-utils \
  mmdebstrap debian-archive-keyring qemu-system-x86 ovmf mtools dosfstools xfsprogs btrfs-progs e2fsprogs fdisk strace openssl attr \
  grub-common grub-efi-amd64-bin grub-pc-bin systemd-boot-efi libarchive-tools zstd jq ca-certificates selinux-utils gnupg gpgv procps util-linux iproute2

.PHONY: setup demo test test-quick test-vm crash bench fuzz clean

# The stamp is newer than what it was made from; packages are only fetched when one is missing.
setup: $(VENV)/.ready

$(VENV)/.ready: Makefile pyproject.toml
	missing=$$(for package in $(PACKAGES); do dpkg -s $$package >/dev/null 2>&1 || echo $$package; done); \
	if [ -n "$$missing" ]; then apt-get update -q && apt-get install -q -y --no-install-recommends $$missing; fi
	/usr/bin/python3 -m venv $(VENV)
	$(VENV)/bin/pip install -q "tox>=4.22"
	/usr/bin/python3 -m venv --system-site-packages $(VENV)/run
	$(VENV)/run/bin/pip install -q -e .
	$(VENV)/run/bin/python -c "from tests.selinux import unpacked; unpacked()"
	$(VENV)/run/bin/python -m tests.integration.get_mkcomposefs
	touch $@

demo: setup
	$(VENV)/run/bin/python -m tests.vm.demo

test: setup
	tests/run-all

test-quick: setup
	$(TOX) run -q -e style,types,imports,unit

test-vm: setup
	$(TOX) run -q -e vm -- tests/vm --matrix

crash: setup
	$(TOX) run -q -e crash
	$(TOX) run -q -e vm -- tests/vm/test_crash_run.py --long -rP

bench: setup
	$(VENV)/run/bin/python bench/import.py
	$(VENV)/run/bin/python bench/fetch.py
	$(VENV)/run/bin/python bench/composefs.py

fuzz: setup
	$(TOX) run -q -e fuzz -- --seconds $(TIME)

clean:
	rm -rf $(VENV) .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis
