"""Names that users choose, as names of files."""

import hashlib
import re

_MAX_SEGMENT_BYTES = 120
_HASH_DIGITS = 32
_NOT_PLAIN = re.compile(rb"[^a-z0-9_.\-]|^\.")
_NOT_READABLE = re.compile(rb"[^A-Za-z0-9_.\-]|^\.")


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
    return _escaped(name, _NOT_PLAIN)


def readable_segment(name: str) -> str:
    """Returns a path segment for a name, as ``safe_segment`` does, but leaves capitals as they are.

    For directories that only sort files with unique names: on a file system that ignores case,
    two names may share one.
    """
    return _escaped(name, _NOT_READABLE)


def _escaped(name: str, unsafe: re.Pattern[bytes]) -> str:
    raw = name.encode("utf-8", "surrogatepass")
    segment = unsafe.sub(lambda match: b"%%%02X" % match[0][0], raw).decode("ascii") or "%"
    if len(segment) <= _MAX_SEGMENT_BYTES:
        return segment
    start = segment[: _MAX_SEGMENT_BYTES - _HASH_DIGITS - 1]
    whole = re.sub("%.?$", "", start)  # half an escape would not decode
    return f"{whole}~{hashlib.sha256(raw).hexdigest()[:_HASH_DIGITS]}"
