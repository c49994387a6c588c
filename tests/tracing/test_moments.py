"""Inferences over time: some that follow each other are one point, and looking changes nothing."""

from ml.tracing.moments import MAX_MOMENTS, Instant, MomentTally


def instant(number):
    return Instant(time_s=float(number), latency_s=0.01, num_shown=2, score=1.0, error_probability=0.5)


def test_looking_in_between_changes_nothing():
    looked_at, left_alone = MomentTally(250), MomentTally(250)
    for number in range(250):
        looked_at.add(instant(number))
        left_alone.add(instant(number))
        looked_at.moments()

    assert looked_at.moments() == left_alone.moments()
    assert len(left_alone.moments()) == MAX_MOMENTS
    assert sum(moment.num_inferences for moment in left_alone.moments()) == 250
    assert left_alone.moments()[0][4:] == (2.0, 0.5, 0.25)
