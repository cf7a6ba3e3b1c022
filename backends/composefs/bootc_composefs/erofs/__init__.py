"""composefs images: EROFS metadata of a whole file tree in one file, byte for byte what mkcomposefs 1.0.8 writes.

The layout of the file, all numbers little endian, in blocks of 4096 bytes:

* 0: header of composefs; 1024: superblock of EROFS; 1152: inodes in breadth-first order, each with its attributes and
  the last piece of its data, at multiples of 32 bytes (the inode number within the filesystem, nid, is that multiple);
* after the last inode: extended attributes that more than one inode has, each once;
* from the next block on: directories, small files and long links in whole blocks.

Contents of other files are not in the image: an attribute of overlayfs (`metacopy`, with the fs-verity digest) and one
with the path of the object (`redirect`) send the reader to the data layer below. Nothing but the tree enters the image,
so that the fs-verity digest of the file names the tree.

`plan` turns the tree into inodes, `xattrs` shares their attributes, `layout` gives them their places, `writer` puts out
the bytes; `reader` is the way back.
"""

from __future__ import annotations

from bootc_composefs.erofs.format import Versions
from bootc_composefs.erofs.reader import Image, read_image
from bootc_composefs.erofs.writer import make_image

__all__ = ["Image", "Versions", "make_image", "read_image"]
