"""Extended attributes that the kernel looks into: it takes no others of these names."""

from __future__ import annotations

import struct

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""security.capability (capabilities(7), VFS_CAP_REVISION_2): CAP_NET_BIND_SERVICE, permitted and effective"""
ACCESS_LIST = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, who)
    for tag, bits, who in (
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, 1234),
        (0x04, 4, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)
"""system.posix_acl_access (acl(5)): the owner, one other user, the group, mask and others"""
