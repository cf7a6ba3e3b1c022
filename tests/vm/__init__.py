"""Tests that boot installed disks in virtual machines, and the harness that they stand on."""
