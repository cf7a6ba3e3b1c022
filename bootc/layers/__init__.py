"""Layers of images: tar streams to checked, typed entries and back; the one place where hostile tar input is met.

Forms read: v7, ustar, GNU (long names, base-256 numbers, sparse), pax (sparse 0.0, 0.1, 1.0; extended attributes as
`SCHILY.xattr.` and `LIBARCHIVE.xattr.`). Sparse files come out with their holes filled.

**A layer is a set of paths.** Order has no meaning, except that a hard link follows what it is linked to. So each path
comes once, everything is below directories only, and a layer that brings a path does not also remove it (a whiteout
*before* the entry of the same path is allowed: it hides the lower layers' one). podman refuses repetitions too.
Directories that have no entry of their own are given out as implied ones before the first path below them.

**Stacking** follows what `podman pull` and `podman image mount` (overlay) show, whatever the store:

* A layer is looked at by itself; links of *lower* layers are never followed. After a lower `lib -> usr/lib`, a layer
  with `lib/foo`, with an entry for `lib` or without, has a real directory `lib` with only `foo` in it. The same holds
  for a lower file, and for `lib/.wh.foo`, which leaves an empty `lib`.
* A directory over a directory keeps what is in it and takes the later entry's mode, owner, time and attributes; except
  that an implied directory changes nothing where a directory is. Here podman resets it to root:root 0755, which would
  undo the mode of /root or /tmp, and images built of ostree chunks do leave out directories.
* Anything else replaces what was there, with all below it.
* A whiteout removes a path of lower layers, an opaque marker all that lower layers have in its directory; both leave
  alone what their own layer brings, before or after them. A directory that is whited out and brought again in one layer
  starts empty, as the OCI specification says and podman's vfs driver does; its overlay driver lets the old one through.
* A hard link shares the inode of its target, whose attributes count (podman lets the last header win; real writers
  repeat the same ones). A later layer that replaces one of the names leaves the others as they were.

**Refused**, always with LayerError: a name that is empty, contains `..` or NUL, or is a file's with a slash at its end;
what is below a link or a file of its own layer; a hard link to nothing earlier, a directory, a whiteout or itself;
whiteouts that are no empty regular file, or named `.wh.`, `.wh..`, `.wh...` or `.wh..wh.*` (aufs' own files), and an
opaque marker in the root (podman's storage drivers disagree on both); unknown types (also contiguous files, as podman
does); content of anything but a file; `trusted.overlay.*` and `user.overlay.*` attributes and character device 0:0,
which overlayfs would obey; two values for one record, attribute or name; a size in pax that differs from the header's;
global pax headers that change entries; broken numbers, checksums, records and maps; owners, times and devices that
Linux does not know; excess over `Limits`; an archive that is cut inside an entry; anything but zeros after its end.

**Accepted**: absolute names, as relative ones; names that are not UTF-8; directories marked by a slash only (v7);
a stream that ends after an entry without the two zero blocks, since some writers leave them out, podman takes it, and
the digest of the layer proves that it is whole. Records that mean nothing to an image are ignored.
"""

from __future__ import annotations

from bootc.layers.content import Content, Readable
from bootc.layers.entry import Entry, EntryKind, printable
from bootc.layers.limits import Limits
from bootc.layers.reader import read_layer
from bootc.layers.writer import END_OF_ARCHIVE, padding, write_entry

__all__ = [
    "END_OF_ARCHIVE",
    "Content",
    "Entry",
    "EntryKind",
    "Limits",
    "Readable",
    "padding",
    "printable",
    "read_layer",
    "write_entry",
]
