"""The keys under which a store holds artifacts.

::

    blobs/<2 digits>/<sha256>.<ext>                   what a version is made of, kept once
    artifacts/<name>/v00000003.json                   the manifest of version 3: created last, never changed
    aliases/<name>/<alias>.json                       what an alias stands for: replaced
    lineage/<name>/v00000003/<logged|used>-<run>.json a run that made it, or that used it: created
    pending/<id>.json                                 a publication is under way
    collecting/<id>.json                              blobs that nothing names are being removed

Names are any text; in keys they are made safe, with capitals as they are (``ml.io.names.readable_segment``).
"""

import re
from typing import Literal, NamedTuple

from ml.core.errors import ConfigError
from ml.io.names import readable_segment

ARTIFACTS, ALIASES, LINEAGE, BLOBS = "artifacts/", "aliases/", "lineage/", "blobs/"
MAX_VERSIONS = 10**8

Role = Literal["logged", "used"]

_MANIFEST = re.compile(r"artifacts/([^/]+)/v(\d{8})\.json")
_ALIAS = re.compile(r"aliases/([^/]+)/([^/]+)\.json")
_LINEAGE = re.compile(r"lineage/([^/]+)/v(\d{8})/(logged|used)-[^/]+\.json")
_NUMBER = re.compile(r"v(0|[1-9]\d{0,7})")


class Place(NamedTuple):
    """Which version a key is about: the name as it is in keys, and the number."""

    segment: str
    number: int


def manifest_key(name: str, number: int) -> str:
    """Returns the key of a version's manifest."""
    return f"{manifest_prefix(name)}v{number:08}.json"


def manifest_prefix(name: str) -> str:
    """Returns what the keys of all manifests of an artifact begin with, and no other ones."""
    return f"{ARTIFACTS}{readable_segment(name)}/"


def manifest_place(key: str) -> Place | None:
    """Returns which version a key is the manifest of; ``None``: of none."""
    found = _MANIFEST.fullmatch(key)
    return Place(found[1], int(found[2])) if found else None


def alias_prefix(name: str) -> str:
    """Returns what the keys of an artifact's aliases begin with."""
    return f"{ALIASES}{readable_segment(name)}/"


def alias_key(name: str, alias: str) -> str:
    """Returns the key of an alias."""
    return f"{alias_prefix(name)}{readable_segment(alias)}.json"


def alias_segment(key: str) -> str | None:
    """Returns the name of the artifact, as it is in keys, that a key is an alias of; ``None``: it is none."""
    found = _ALIAS.fullmatch(key)
    return found[1] if found else None


def lineage_prefix(name: str, number: int, role: Role) -> str:
    """Returns what the keys of the runs that made or used a version begin with."""
    return f"{LINEAGE}{readable_segment(name)}/v{number:08}/{role}-"


def lineage_key(name: str, number: int, role: Role, run_id: str) -> str:
    """Returns the key that says that a run made or used a version."""
    return f"{lineage_prefix(name, number, role)}{readable_segment(run_id)}.json"


def lineage_place(key: str) -> Place | None:
    """Returns the version that a key of a run is about; ``None``: it is none."""
    found = _LINEAGE.fullmatch(key)
    return Place(found[1], int(found[2])) if found else None


class Ref(NamedTuple):
    """What a reference to a version says: the name, and the alias or ``v<number>``."""

    name: str
    selector: str

    @property
    def number(self) -> int | None:
        """The number that it names; ``None``: an alias."""
        found = _NUMBER.fullmatch(self.selector)
        return int(found[1]) if found else None


def parse_ref(ref: str) -> Ref:
    """Takes a reference apart: ``val`` (its latest version), ``val:best``, ``val:v3``.

    The last colon counts: a name with a colon in it needs its selector, as in ``a:b:latest``.
    """
    name, colon, selector = ref.rpartition(":")
    return Ref(name, selector) if colon else Ref(ref, "latest")


def ref_of(name: str, number: int) -> str:
    """Returns the reference to one version: ``val:v3``."""
    return f"{name}:v{number}"


def check_alias(alias: str) -> None:
    """Checks that an alias can be one.

    Raises:
        ConfigError: It is empty, has a colon, is ``latest``, which moves by itself, or looks like a number.
    """
    if not alias or ":" in alias:
        raise ConfigError(f"An alias is some text without a colon, such as 'epoch_4'; got {alias!r:.100}.")
    if alias == "latest" or re.fullmatch(r"v\d+", alias):
        raise ConfigError(f"{alias!r:.100} cannot be set: 'latest' moves by itself, and 'v3' is version 3.")
