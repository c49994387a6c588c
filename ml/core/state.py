"""Where training stands: the phase, and how far it has come."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Literal, NamedTuple, get_args

from ml.core.errors import ConfigError

Phase = Literal["train", "valid", "test"]
PHASES: tuple[Phase, ...] = get_args(Phase)

_MAX_COUNT = 2**63 - 1
_FIRST_TIME_S, _LAST_TIME_S = -62_135_510_400.0, 253_402_214_400.0  # the calendar, less a day for every time zone
_TYPES = (str, *(int,) * 7, *(float,) * 3)


class State(NamedTuple):
    """Where training stands at the end of one step. Immutable, and cheap to replace.

    Attributes:
        phase: What is running.
        num_epochs: Finished epochs.
        num_steps: Training steps, this one included: the first is 1. The x axis of every phase.
        num_epoch_steps: Training steps of the running epoch.
        num_samples: Training samples, this step's included.
        num_epoch_samples: Training samples of the running epoch.
        num_valid_steps: Validation steps.
        num_test_steps: Test steps.
        start_time_s: Wall clock, Unix seconds, of the run's first attempt.
        elapsed_time_s: Monotonic seconds of training; time between attempts is not counted.
        time_s: Wall clock, Unix seconds, at the end of this step. 0 means not set: the
            group that writes the step fills it in.
    """

    phase: Phase = "train"
    num_epochs: int = 0
    num_steps: int = 0
    num_epoch_steps: int = 0
    num_samples: int = 0
    num_epoch_samples: int = 0
    num_valid_steps: int = 0
    num_test_steps: int = 0
    start_time_s: float = 0.0
    elapsed_time_s: float = 0.0
    time_s: float = 0.0


def normalized(state: State) -> State:
    """Returns the state with counts and times that every format can hold.

    Counts become whole numbers of 64 bits: of a float the whole part, of what is too
    large the largest, of what is no number 0. Times become finite seconds, or 0,
    from the year 1 to 9999. A state that is in order is returned as it is.

    Raises:
        ConfigError: There is no such phase.
    """
    counts, times = state[1:8], state[8:]
    if (
        tuple(map(type, state)) == _TYPES
        and state.phase in PHASES
        and min(counts) >= -_MAX_COUNT
        and max(counts) <= _MAX_COUNT
        and math.isfinite(sum(times))
        and min(times) >= _FIRST_TIME_S
        and max(times) <= _LAST_TIME_S
    ):
        return state
    if state.phase not in PHASES:
        raise ConfigError(f"A phase is one of {', '.join(PHASES)}, got {state.phase!r}.")
    return State(state.phase, *map(_count, counts), *map(_seconds, times))


def resumed(state: State | Mapping[str, object] | None) -> State:
    """Returns the state to begin with: in training, also where it was kept inside of a pass.

    Args:
        state: From a checkpoint: a state, or the mapping of its fields. ``None`` begins anew.

    Raises:
        ConfigError: It is neither, or a field is unknown or no number.
    """
    if state is None:
        return State()
    if not isinstance(state, State | Mapping):
        raise ConfigError(f"state= is run.state or run.state._asdict(), got a {type(state).__name__}.")
    fields = state._asdict() if isinstance(state, State) else state
    for name in fields:
        if name not in State._fields:
            raise ConfigError(f"A state has no field {name!r}. It has: {', '.join(State._fields)}.")
    given = State(**fields)
    made = normalized(given)
    for name, was, now in zip(State._fields, given, made, strict=True):
        if not isinstance(was, str | Real) or was != now:
            raise ConfigError(f"The field {name!r} of a state cannot be {was!r}.")
    return made._replace(phase="train")


def _count(value: object) -> int:
    try:
        return max(-_MAX_COUNT, min(_MAX_COUNT, int(value)))  # type: ignore[call-overload,no-any-return]
    except (TypeError, ValueError):
        return 0
    except OverflowError:
        return _MAX_COUNT if value == math.inf else -_MAX_COUNT


def _seconds(value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(_FIRST_TIME_S, min(_LAST_TIME_S, seconds)) if math.isfinite(seconds) else 0.0
