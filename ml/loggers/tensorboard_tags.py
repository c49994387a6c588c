"""What the tags of one TensorBoard run are used for: the kind of value that each holds, and its last step.

TensorBoard shows one kind of value per tag, and its default loader takes the
steps of a tag in growing order only. It says nothing of what it leaves out, so
both are watched here.
"""

import hashlib
from collections.abc import Iterable, Mapping

from ml.loggers.kinds import Kind
from ml.loggers.values import series_path

_HASH_DIGITS = 12


class Tags:
    """The tags of one TensorBoard run. Scalars keep theirs; a value of another kind makes room."""

    def __init__(self) -> None:
        self._scalars: set[str] = set()
        self._owners: dict[str, tuple[str, Kind]] = {}  # whose each tag is that is no scalar's
        self._last_steps: dict[str, int] = {}
        self._last_step = 0

    def claim(self, tags: Mapping[str, object]) -> dict[str, Kind]:
        """Makes ``tags`` tags of scalars. Returns those that were of another kind, each with that kind."""
        self._scalars.update(tags)
        if self._owners.keys().isdisjoint(tags):
            return {}
        return {tag: self._owners.pop(tag)[1] for tag in self._owners.keys() & tags.keys()}

    def tag_of(self, tag: str, kind: Kind) -> str:
        """Returns the tag for a value of ``kind``, not a scalar: ``<tag>.<kind>`` where ``tag`` is of another kind.

        No two series share a tag, also where one is called as the other would be.
        """
        series = (tag, kind)
        while tag in self._scalars or self._owners.setdefault(tag, series) != series:
            tag = f"{tag}.{kind.name}"
        return tag

    def advance(self, tags: Iterable[str], step: int) -> str | None:
        """Notes that ``tags`` were written at ``step``. Returns one that was written at a later step before, if any."""
        behind = None
        if step < self._last_step:
            behind = next((tag for tag in tags if self._last_steps.get(tag, step) > step), None)
        self._last_step = max(self._last_step, step)
        self._last_steps.update(dict.fromkeys(tags, step))
        return behind


def tag_name(namespace: str, key: str) -> str:
    """Returns the tag of a key: ``<namespace>/<key>``, or the key where the namespace is empty.

    Half a surrogate pair becomes ``?``, and the tag ends in ``~`` and a hash, so that it is like no other.
    """
    tag = series_path(namespace, key)
    try:
        tag.encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8, which is what a file holds
        digest = hashlib.sha256(tag.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{tag.encode('utf-8', 'replace').decode()}~{digest[:_HASH_DIGITS]}"
    return tag
