"""How long a model takes, also where it runs on a GPU: there a call returns before the work is done."""

from collections.abc import Callable

import torch


class Stopwatch:
    """Measures one call of a model; never waits itself.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._started_s = clock, clock()
        self._events: tuple[torch.Event, torch.Event] | None = None
        is_used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        if is_used and not torch.cuda.is_current_stream_capturing():
            self._events = torch.Event("cuda", enable_timing=True), torch.Event("cuda", enable_timing=True)
            self._events[0].record()

    def stop(self) -> Callable[[], float]:
        """Returns what tells the seconds from the start until now; asked, it waits until the GPU has come so far.

        That is the longer of what the host and the GPU took: a model may run on either.
        """
        elapsed_s, events = self._clock() - self._started_s, self._events
        if events is None:
            return lambda: elapsed_s
        start, end = events
        end.record()

        def longest_s() -> float:
            end.synchronize()
            return max(elapsed_s, start.elapsed_time(end) / 1000)

        return longest_s
