"""Looks through what is around a model: ``torch.compile``, and the wrappers of data parallel training."""

import difflib
from collections.abc import Mapping

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ml.core.errors import ConfigError

_COMPILED = "_orig_mod"
_WRAPPED = "module"


def unwrapped(model: nn.Module) -> nn.Module:
    """Returns the user's own model: without ``torch.compile``, DDP, FSDP and ``DataParallel`` around it."""
    while True:
        inner: object = model._modules.get(_COMPILED)
        if inner is None and (isinstance(model, DataParallel | DistributedDataParallel) or _is_sharded(model)):
            inner = model.module
        if not isinstance(inner, nn.Module) or inner is model:
            return model
        model = inner


def plain_path(path: str) -> str:
    """Returns a module's path as it is without ``torch.compile``."""
    return ".".join(part for part in path.split(".") if part != _COMPILED)


def target_modules(model: nn.Module, target_layers: Mapping[str, str]) -> dict[str, nn.Module]:
    """Returns the modules at some paths, by alias.

    Args:
        model: The user's own, or with wrappers.
        target_layers: By alias the path of a module, as ``named_modules`` has it: ``"backbone.layer1"``.

    Raises:
        ConfigError: There is no such module; the message has near paths. Or these are no texts.
    """
    modules = {plain_path(path): module for path, module in unwrapped(model).named_modules()}
    found = {}
    for alias, path in target_layers.items():
        if not (_is_text(alias) and _is_text(path)):
            raise ConfigError(f"target_layers maps aliases to paths of modules, got {alias!r}: {path!r}.")
        module = modules.get(plain_path(path))
        if module is None:
            near = difflib.get_close_matches(path, modules, n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise ConfigError(
                f"The model has no layer {path!r}, which target_layers calls {alias!r}.{hint} "
                f"Its layers begin with {', '.join(name for name, _ in unwrapped(model).named_children())}."
            )
        found[alias] = module
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_sharded(model: nn.Module) -> bool:
    return any(cls.__name__ == "FullyShardedDataParallel" for cls in type(model).__mro__)
