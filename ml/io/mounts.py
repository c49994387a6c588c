"""Which file systems are somewhere else, where a write reports failures of earlier ones."""

import os
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_REMOTE = ("9p", "afs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3")


def is_remote(path: Path, mounts: Path = _MOUNTS) -> bool:
    """Whether a file lies on a network file system; not known, and so False, where there is no /proc.

    Args:
        path: The file.
        mounts: What the kernel says is mounted, as ``/proc/self/mountinfo`` has it.

    Raises:
        OSError: The file is not there.
    """
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    for line in lines:  # 36 35 98:0 /root /mount/point options [optional ...] - type source options
        mount, _, rest = line.partition(" - ")
        if mount.split()[2:3] == [wanted]:
            kind = rest.partition(" ")[0]
            return kind in _REMOTE or kind.startswith("fuse.")
    return False
