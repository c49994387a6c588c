"""Are the artifacts of a store whole? Every manifest, every blob that one names, every alias, every run."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from ml.core.errors import FormatError
from ml.evaluation.aliases import MAX_ALIAS_BYTES, alias_at
from ml.evaluation.blobs import BlobRef, Blobs
from ml.evaluation.collection import is_blob
from ml.evaluation.layout import (
    ALIASES,
    ARTIFACTS,
    BLOBS,
    LINEAGE,
    alias_segment,
    lineage_place,
    manifest_key,
    manifest_place,
    parse_ref,
)
from ml.evaluation.lineage import MAX_LINEAGE_BYTES, run_of
from ml.evaluation.manifest import MAX_MANIFEST_BYTES, Manifest
from ml.evaluation.markers import Kind, marks
from ml.evaluation.media_lists import LIST_EXT, decode_list
from ml.evaluation.references import TableRef
from ml.io.names import readable_segment
from ml.io.store import Store

if TYPE_CHECKING:
    from ml.evaluation.artifacts import Artifacts

_MAX_ABOUT_BYTES = max(MAX_ALIAS_BYTES, MAX_LINEAGE_BYTES)

Severity = Literal["problem", "note"]


class Problem(NamedTuple):
    """What a check found.

    Attributes:
        severity: ``"problem"``: something is damaged or missing. ``"note"``: something can be removed, as a publication
            that was killed leaves it.
        key: Where.
        text: What, in a few words.
    """

    severity: Severity
    key: str
    text: str


class _Versions:
    """The manifests of a store that are whole, each read from the store."""

    def __init__(self, store: Store) -> None:
        self.whole: dict[tuple[str, int], Manifest] = {}
        """By the name as it is in keys, and the number."""
        self.numbers: dict[str, list[int]] = {}
        self.problems: list[Problem] = []
        for entry in store.list(ARTIFACTS):
            self._add(store, entry.key)

    def _add(self, store: Store, key: str) -> None:
        place = manifest_place(key)
        if place is None:
            self.problems.append(Problem("problem", key, "it is no manifest of a version"))
            return
        self.numbers.setdefault(place.segment, []).append(place.number)
        try:
            manifest = Manifest.from_bytes(store.get(key, max_bytes=MAX_MANIFEST_BYTES), key)
            if manifest_key(manifest.name, manifest.number) != key:
                raise FormatError(f"it is that of {manifest.name!r}, version {manifest.number}", path=key)
            self.whole[place] = manifest
        except FormatError as error:
            self.problems.append(Problem("problem", key, error.message))

    def has(self, name: str, number: int) -> bool:
        """Whether there is a version, be it damaged."""
        return number in self.numbers.get(readable_segment(name), ())


def fsck(artifacts: "Artifacts", *, deep: bool = False) -> list[Problem]:
    """Returns what is wrong with the artifacts of a store, and what can be removed; nothing where everything is whole.

    Others may publish meanwhile. A missing version, whose number lies between those of others, is a problem: numbers
    are dense.

    Args:
        artifacts: Of the store.
        deep: Whether to read every blob to its end, and not only to look whether it is there with all of its bytes.

    Raises:
        WriteError: The store does not answer.
    """
    store = artifacts.store
    # What a version needs is made before it, and what is about a version after it: so the latter is read first.
    about = list(_read_about(store))
    versions = _Versions(store)
    return [
        *versions.problems,
        *_gaps(versions),
        *_twice(versions),
        *_links(versions),
        *(problem for key, data in about for problem in _about(versions, key, data)),
        *_blobs(store, versions, deep=deep),
        *_marks(store),
    ]


def _gaps(versions: _Versions) -> Iterator[Problem]:
    for segment, numbers in versions.numbers.items():
        for before, after in pairwise([-1, *numbers]):
            if after - before > 1:
                missing = f"v{before + 1}" if after - before == 2 else f"v{before + 1} to v{after - 1}"
                yield Problem("problem", f"{ARTIFACTS}{segment}/", f"{missing} is missing: numbers have no gaps")


def _twice(versions: _Versions) -> Iterator[Problem]:
    seen: dict[tuple[str, str], int] = {}
    for manifest in versions.whole.values():
        first = seen.setdefault((manifest.name, manifest.digest), manifest.number)
        if first != manifest.number:
            key = manifest_key(manifest.name, manifest.number)
            yield Problem("problem", key, f"it has the content of v{first}")


def _links(versions: _Versions) -> Iterator[Problem]:
    for manifest in versions.whole.values():
        key = manifest_key(manifest.name, manifest.number)
        for ref in manifest.used:
            name, number = parse_ref(ref).name, parse_ref(ref).number
            if number is not None and not versions.has(name, number):
                yield Problem("problem", key, f"it was made of {ref}, which is missing")
        for table in manifest.tables.values():
            for column in table.columns:
                if column.references:
                    target = TableRef.parse(column.references)
                    there = versions.whole.get((readable_segment(target.artifact), target.version))
                    if there is not None and target.table not in there.tables:
                        yield Problem("problem", key, f"column {column.name!r} refers to {target}, which is missing")


def _read_about(store: Store) -> Iterator[tuple[str, bytes]]:
    """Yields the key and the content of every alias, and of all that is kept of runs."""
    for entry in (entry for prefix in (ALIASES, LINEAGE) for entry in store.list(prefix)):
        try:
            yield entry.key, store.get(entry.key, max_bytes=_MAX_ABOUT_BYTES)
        except FileNotFoundError:
            continue  # it was removed meanwhile
        except FormatError:
            yield entry.key, b""  # too large for what it should be: as bad as an empty one


def _about(versions: _Versions, key: str, data: bytes) -> Iterator[Problem]:
    """Checks an alias, or what is kept of a run."""
    try:
        if (place := lineage_place(key)) is not None:
            run_of(data, key)
            if place.number not in versions.numbers.get(place.segment, ()):
                yield Problem("problem", key, f"it is about v{place.number}, which is missing")
        elif (segment := alias_segment(key)) is not None:
            alias = alias_at(key, data)
            if alias.number is None:
                has_metric = any(
                    place == segment and alias.metric in manifest.metrics
                    for (place, _), manifest in versions.whole.items()
                )
                if not has_metric:
                    yield Problem("problem", key, f"no version has the metric {alias.metric!r} that decides on it")
            elif alias.number not in versions.numbers.get(segment, ()):
                yield Problem("problem", key, f"it stands for v{alias.number}, which is missing")
        else:
            yield Problem("problem", key, "it is no alias, and about no run")
    except FormatError as error:
        yield Problem("problem", key, error.message)


def _blobs(store: Store, versions: _Versions, *, deep: bool) -> Iterator[Problem]:
    """Checks that what versions name is there, with all of its bytes, and tells what nothing names."""
    named, problems = _named(Blobs(store), versions)
    yield from problems
    lost = set(named)
    unnamed = unnamed_bytes = 0
    for entry in store.list(BLOBS):
        expected = named.get(entry.key)
        if not is_blob(entry):
            yield Problem("note", entry.key, "it is no blob; nobody needs it, and 'gc' leaves it where it is")
            continue
        if expected is None:
            unnamed, unnamed_bytes = unnamed + 1, unnamed_bytes + entry.size_bytes
            continue
        lost.discard(entry.key)
        if entry.size_bytes != expected.ref.size_bytes:
            problem = f"it has {entry.size_bytes} bytes in the place of {expected.ref.size_bytes}"
            yield Problem("problem", entry.key, f"{problem}; {expected.manifest} names it")
        elif deep and (problem := _damage(Blobs(store), expected.ref)):
            yield Problem("problem", entry.key, f"{problem}; {expected.manifest} names it")
    for key in sorted(lost):
        yield Problem("problem", key, f"it is missing; {named[key].manifest} names it")
    # Without every manifest and list nobody knows what is needed.
    if unnamed and not (problems or versions.problems or any(named[key].ref.ext == LIST_EXT for key in lost)):
        yield Problem("note", BLOBS, f"no version names {unnamed} blobs of {unnamed_bytes} bytes; 'gc' removes them")


class _Named(NamedTuple):
    """A blob, and the first manifest that names it."""

    ref: BlobRef
    manifest: str


def _named(blobs: Blobs, versions: _Versions) -> tuple[dict[str, _Named], list[Problem]]:
    """Returns the blobs that versions name, by key, and the lists of media that cannot be read."""
    named, problems = dict[str, _Named](), list[Problem]()
    for manifest in versions.whole.values():
        key = manifest_key(manifest.name, manifest.number)
        for part in manifest.parts:
            named.setdefault(part.ref.key, _Named(part.ref, key))
        for ref in manifest.media_lists:
            if ref.key in named:
                continue
            named[ref.key] = _Named(ref, key)
            try:
                for media in decode_list(blobs.get(ref)):
                    named.setdefault(media.key, _Named(media, key))
            except FileNotFoundError:
                continue  # told with the other blobs that are missing
            except FormatError as error:
                problems.append(Problem("problem", ref.key, f"{error.message}; {key} names it"))
    return named, problems


def _damage(blobs: Blobs, ref: BlobRef) -> str:
    """Returns what is wrong with the content of a blob; empty: nothing, or it was removed meanwhile."""
    try:
        blobs.verify(ref)
    except FormatError as error:
        return error.message
    except FileNotFoundError:
        pass
    return ""


def _marks(store: Store) -> Iterator[Problem]:
    kinds: dict[Kind, str] = {"pending": "a publication", "collecting": "a collection"}
    for kind, name in kinds.items():
        try:
            for mark in marks(store, kind):
                yield Problem("note", mark.key, f"{name} is under way, or was killed: {mark.what}")
        except FormatError as error:
            yield Problem("problem", error.path, error.message)
