"""Public names of a package that are loaded on first use, so that importing one part does not load the others."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def loaded_on_use(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """Returns what is to be the ``__getattr__`` of a package.

    Args:
        package: Its name.
        homes: Which names each module defines, by the module's name.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def load(name: str) -> object:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(home), name)

    return load
