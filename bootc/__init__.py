"""Transactional, in-place operating system updates from OCI images; every part a plugin."""

__version__ = "0.1.0"
