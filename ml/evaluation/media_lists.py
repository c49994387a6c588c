"""Which media the tables of a version hold, as blobs of their own: lists of blobs.

A table of a million images would make a manifest of a hundred megabytes, and each epoch's table of predictions names
the same images. So a manifest names lists, which are blobs like others, and kept once like others. A list is text,
a line a blob, in their order::

    00f0…9a.png 3120
    01c2…44.wav 16044
"""

import re
from collections.abc import Iterable, Iterator

from ml.core.errors import FormatError
from ml.evaluation.blobs import BlobRef

LIST_EXT = "media"
_BLOBS_PER_LIST = 2**16  # some 80 bytes each
_LINE = re.compile(r"([0-9a-f]{64})\.([a-z0-9]{1,8}) (\d{1,10})")


def encode_lists(media: Iterable[BlobRef]) -> Iterator[bytes]:
    """Yields the lists of some media: the same ones for the same media, in whatever order and however often."""
    in_order = sorted(set(media))
    for start in range(0, len(in_order), _BLOBS_PER_LIST):
        some = in_order[start : start + _BLOBS_PER_LIST]
        yield "".join(f"{ref.sha256}.{ref.ext} {ref.size_bytes}\n" for ref in some).encode()


def decode_list(data: bytes) -> Iterator[BlobRef]:
    """Yields the media of a list.

    Raises:
        FormatError: It is none.
    """
    offset = 0
    for line in data.splitlines(keepends=True):
        text = line.decode("ascii", "replace")
        found = _LINE.fullmatch(text.removesuffix("\n"))
        if found is None or not text.endswith("\n"):
            raise FormatError(f"no line of a list of media: {text!r:.100}", offset=offset)
        yield BlobRef(found[1], found[2], int(found[3])).checked()
        offset += len(line)
