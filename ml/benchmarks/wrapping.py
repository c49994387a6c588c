"""Puts a measured call around functions of every kind; what they give, take and raise passes through untouched."""

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from functools import partial
from typing import Any, Protocol


class Call(Protocol):
    """A measured call; its clock runs when it is made."""

    def enter(self) -> None:
        """From here on it is the running call of this context."""

    def leave(self) -> None:
        """It is not the running call any more, or for now."""

    def end(self, error: BaseException | None) -> None:
        """It has returned, or raised."""


def wrap(function: Callable[..., Any], begin: Callable[[], Call]) -> Callable[..., Any]:
    """Returns a function of the same kind: plain, coroutine, generator or asynchronous generator.

    Args:
        function: Or an object that is called.
        begin: Called for each call, right before it.
    """
    # Of an object that is called, its method says of what kind it is.
    shape = function if inspect.isroutine(function) or isinstance(function, partial) else type(function).__call__
    if inspect.iscoroutinefunction(shape):
        return _coroutine(function, begin)
    if inspect.isgeneratorfunction(shape):
        return _generator(function, begin)
    if inspect.isasyncgenfunction(shape):
        return _async_generator(function, begin)
    return _plain(function, begin)


def _plain(function: Callable[..., Any], begin: Callable[[], Call]) -> Callable[..., Any]:
    def measured(*args: Any, **kwargs: Any) -> Any:
        call = begin()
        call.enter()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        call.end(None)
        return result

    return measured


def _coroutine(function: Callable[..., Any], begin: Callable[[], Call]) -> Callable[..., Any]:
    async def measured(*args: Any, **kwargs: Any) -> Any:
        call = begin()
        call.enter()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        call.end(None)
        return result

    return measured


def _generator(function: Callable[..., Any], begin: Callable[[], Call]) -> Callable[..., Any]:
    # What `yield from` does, step by step: between two steps the consumer runs, in the same context.
    def measured(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        call = begin()
        step: Callable[[], Any] = partial(next, generator)
        try:
            while True:
                item = _stepped(call, step)
                try:
                    sent = yield item
                except GeneratorExit:
                    _stepped(call, generator.close)
                    raise
                except BaseException as error:
                    step = partial(generator.throw, error)
                else:
                    step = partial(generator.send, sent)
        except StopIteration as stop:
            call.end(None)
            return stop.value
        except GeneratorExit:  # its consumer has had enough
            call.end(None)
            raise
        except BaseException as error:
            call.end(error)
            raise

    return measured


def _async_generator(function: Callable[..., Any], begin: Callable[[], Call]) -> Callable[..., Any]:
    async def measured(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        call = begin()
        step: Callable[[], Any] = generator.__anext__
        try:
            while True:
                item = await _async_stepped(call, step)
                try:
                    sent = yield item
                except GeneratorExit:
                    await _async_stepped(call, generator.aclose)
                    raise
                except BaseException as error:
                    step = partial(generator.athrow, error)
                else:
                    step = partial(generator.asend, sent)
        except StopAsyncIteration:
            call.end(None)
            return
        except GeneratorExit:
            call.end(None)
            raise
        except BaseException as error:
            call.end(error)
            raise

    return measured


def _stepped(call: Call, step: Callable[[], Any]) -> Any:
    call.enter()
    try:
        return step()
    finally:
        call.leave()


async def _async_stepped(call: Call, step: Callable[[], Any]) -> Any:
    call.enter()
    try:
        return await step()
    finally:
        call.leave()
