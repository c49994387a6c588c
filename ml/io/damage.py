"""What is wrong with a file, and where: the word that all checks of files have for it."""

from typing import NamedTuple


class Damage(NamedTuple):
    """Bytes that are no whole record.

    Attributes:
        offset: Where they begin.
        size_bytes: How many there are.
        reason: What is wrong with the first of them.
        is_tail: Whether it may be a record that is being written: it runs to the end of the file,
            and begins like a record that was cut off, or ends in zeros. Not corrupt, not yet whole.
    """

    offset: int
    size_bytes: int
    reason: str
    is_tail: bool
