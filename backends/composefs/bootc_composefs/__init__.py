"""The composefs backend: contents as objects named by their fs-verity digests, and an EROFS image for each tree."""
