"""Keeps what chosen modules of a model return while it is called, and never disturbs it.

A hook looks only while its thread is inside of a call that is traced. Of a module that is called several times the last
output counts; a checkpoint that computes again in the backward pass comes after the call, and counts for nothing. What
is kept has no graph, and is let go when the call is over, but for the last output of layers that the user chose. A copy
of the model has no hooks that do anything.

A module that a later one changes in place, as ``nn.ReLU(inplace=True)`` does, would leave something that it never
returned: this is found, that output is not kept, and from the next call on that module's output is copied at once.

In a compiled model a hook is compiled along, as one attribute that is set: there is no break in its graph, and nothing
is compiled again from call to call. One that was compiled and called before its hooks came does not know of them, and
keeps nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ml.io.thread_local import ThreadLocal
from ml.tracing.detaching import with_tensors
from ml.tracing.failures import Failures
from ml.tracing.wrapped import unwrapped

RawHook = Callable[..., object]

_FAILED = object()


class Recorder:
    """The hooks of one tracer.

    Args:
        failures: Counts what a hook raises.
    """

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self._hooks: dict[str, _Hook] = {}
        self._handles: list[RemovableHandle] = []
        self._adopted: list[_Adopted] = []

    def watch(self, modules: Mapping[str, nn.Module]) -> None:
        """Keeps what modules return, by alias, from the next call on."""
        for alias, module in modules.items():
            hook = self._hooks[alias] = _Hook(alias, self._failures)
            self._handles.append(module.register_forward_hook(hook))

    @contextmanager
    def adopting(self, model: nn.Module) -> Iterator[None]:
        """Takes over the forward hooks that are registered on a model inside: they can no longer harm it.

        What they raise is counted, what they return is ignored, and they are called in calls that are traced alone.
        """
        modules = list(unwrapped(model).modules())
        before = {key for module in modules for key in module._forward_hooks}
        try:
            yield
        finally:
            for module in modules:
                for key in module._forward_hooks.keys() - before:
                    adopted = _Adopted(module._forward_hooks[key], self._failures)
                    module._forward_hooks[key] = adopted
                    module._forward_hooks_always_called.pop(key, None)
                    self._adopted.append(adopted)
                    self._handles.append(_handle(module, key))

    @contextmanager
    def armed(self) -> Iterator[Callable[[], dict[str, object]]]:
        """Looks at what the calls of this thread return inside; gives what collects it, by alias."""
        hooks: list[_Hook | _Adopted] = [*self._hooks.values(), *self._adopted]
        for hook in hooks:
            hook.arm()
        try:
            yield self._collect
        finally:
            for hook in hooks:
                hook.disarm()

    def close(self) -> None:
        """Removes the hooks, and forgets what they kept."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._hooks.clear()
        self._adopted.clear()

    def _collect(self) -> dict[str, object]:
        found = {}
        for alias, hook in list(self._hooks.items()):  # another thread may close the tracer meanwhile
            try:
                value = hook.take()
            except Exception as error:
                self._failures.add("hook", error)
            else:
                if value is not None:
                    found[alias] = value
        return found


class _Local:
    """What a thread has of a hook, in a plain ``ThreadLocal``: ``torch.compile`` takes no class derived from it."""

    def __init__(self) -> None:
        self.of_thread = ThreadLocal()

    def arm(self) -> None:
        self.of_thread.is_armed, self.of_thread.value = True, None

    def disarm(self) -> None:
        self.of_thread.is_armed, self.of_thread.value = False, None

    def __reduce__(self) -> tuple[object, ...]:
        # In a copy of the model, in this process or another one, nothing is left of a hook.
        return getattr, (nullcontext(), "__exit__")


class _Hook(_Local):
    """Keeps the last output of one module."""

    def __init__(self, alias: str, failures: Failures) -> None:
        super().__init__()
        self._alias, self._failures, self._copies = alias, failures, False

    def __call__(self, module: nn.Module, inputs: object, output: object) -> None:
        if not getattr(self.of_thread, "is_armed", False):
            return
        if torch.compiler.is_compiling():
            self.of_thread.value = output
            return
        try:
            self.of_thread.value = _Kept(output, copies=self._copies)
        except Exception as error:
            self.of_thread.value = _FAILED
            self._failures.add("hook", error)

    def take(self) -> object:
        """Returns the output; ``None``: there is none, or it has been changed since."""
        value, self.of_thread.value = self.of_thread.value, None
        if value is None:
            self._failures.add(
                "hook",
                f"The layer {self._alias!r} returned nothing. Either the model does not use it, or it was compiled, and"
                " called, before the tracer was made: then call torch.compiler.reset() first.",
            )
        if value is None or value is _FAILED:
            return None
        if not isinstance(value, _Kept):  # of a compiled model
            return with_tensors(value, Tensor.detach)
        if value.is_changed():
            self._copies = True
            self._failures.add(
                "hook",
                f"What {self._alias!r} returned was changed in place by a later module, so this once it is not kept;"
                " from the next call on it is copied.",
            )
            return None
        return value.output


class _Kept:
    """An output without its graph."""

    def __init__(self, output: object, *, copies: bool) -> None:
        self._copies, self._versions = copies, list[tuple[Tensor, int]]()
        self.output = with_tensors(output, self._keep)

    def _keep(self, tensor: Tensor) -> Tensor:
        kept = tensor.detach()
        if self._copies or kept.is_inference():  # of the latter nobody counts the changes
            return kept.clone()
        self._versions.append((kept, kept._version))
        return kept

    def is_changed(self) -> bool:
        return any(tensor._version != version for tensor, version in self._versions)


class _Adopted(_Local):
    """Somebody else's hook, contained."""

    def __init__(self, hook: RawHook, failures: Failures) -> None:
        super().__init__()
        self._hook, self._failures = hook, failures

    def __call__(self, module: nn.Module, *arguments: object) -> None:
        if not getattr(self.of_thread, "is_armed", False):
            return
        if torch.compiler.is_compiling():
            self._hook(module, *arguments)
            return
        try:
            self._hook(module, *arguments)
        except Exception as error:
            self._failures.add("hook", error)


def _handle(module: nn.Module, key: int) -> RemovableHandle:
    """Returns what removes a hook that somebody else registered."""
    extra: list[Mapping[int, object]] = [module._forward_hooks_with_kwargs, module._forward_hooks_always_called]
    handle = RemovableHandle(module._forward_hooks, extra_dict=extra)
    handle.id = key
    return handle
