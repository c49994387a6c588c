"""Names that users choose, as names of files."""

import hashlib
import re

_MAX_SEGMENT_BYTES = 120
_HASH_DIGITS = 32


def safe_segment(name: str) -> str:
    """Returns a path segment for a namespace or a key; different names get different segments.

    They differ on file systems that ignore case too, so capitals are percent-encoded
    like everything but ``a-z 0-9 _ - .`` and so is a leading dot; ``urllib.parse.unquote``
    undoes it. Past 120 bytes the segment is cut and ends in ``~`` and a hash.

    Args:
        name: Any text, the empty one (which becomes ``%``) and lone surrogates included.

    Returns:
        1 to 120 ASCII characters, never ``.`` or ``..`` or with a ``/``.
    """
    raw = name.encode("utf-8", "surrogatepass")
    segment = re.sub(rb"[^a-z0-9_.\-]|^\.", lambda match: b"%%%02X" % match[0][0], raw).decode("ascii") or "%"
    if len(segment) <= _MAX_SEGMENT_BYTES:
        return segment
    start = segment[: _MAX_SEGMENT_BYTES - _HASH_DIGITS - 1]
    whole = re.sub("%.?$", "", start)  # half an escape would not decode
    return f"{whole}~{hashlib.sha256(raw).hexdigest()[:_HASH_DIGITS]}"
