"""State: where training stands."""

import pickle

import pytest

from ml.core.state import PHASES, State


def test_a_new_state_is_before_the_first_training_step():
    assert State() == ("train", 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0)
    assert State().phase in PHASES == ("train", "valid", "test")


def test_a_state_never_changes():
    state = State(num_steps=1)
    with pytest.raises(AttributeError):
        state.num_steps = 2
    assert state._replace(num_steps=2) == State(num_steps=2)
    assert state == State(num_steps=1)


def test_a_state_survives_a_checkpoint():
    state = State("valid", num_steps=7, elapsed_time_s=0.1, time_s=1_700_000_000.123456)
    assert State(**state._asdict()) == state
    assert pickle.loads(pickle.dumps(state)) == state
