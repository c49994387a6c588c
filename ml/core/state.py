"""Where training stands: the phase, and how far it has come."""

from typing import Literal, NamedTuple, get_args

Phase = Literal["train", "valid", "test"]
PHASES: tuple[Phase, ...] = get_args(Phase)


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
