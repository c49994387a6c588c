"""Which runs are taken together: small ones that wait, never media, never a task."""

import pytest

from ml.io.bounded import BoundedQueue


def queue_of(*runs: list[tuple[str, int, bool]]) -> BoundedQueue[str]:
    queue: BoundedQueue[str] = BoundedQueue(10**6)
    for run in runs:
        for item, size_bytes, droppable in run:
            queue.add(item, size_bytes, droppable=droppable, ends=item == run[-1][0])
    return queue


def firm(*items: str) -> list[tuple[str, int, bool]]:
    return [(item, 10, False) for item in items]


def taken(queue: BoundedQueue[str], gather_bytes: int) -> list[list[str]]:
    runs = []
    while queue.runs:
        runs.append(queue.take(gather_bytes))
        queue.done()
    assert queue.is_empty
    assert queue.size_bytes == 0
    return runs


@pytest.mark.parametrize(
    ("gather_bytes", "expected"),
    [
        (0, [["a"], ["b"], ["c"], ["d"]]),
        (20, [["a", "b"], ["c", "d"]]),
        (39, [["a", "b", "c"], ["d"]]),
        (10**6, [["a", "b", "c", "d"]]),
    ],
)
def test_runs_come_along_while_all_together_are_no_larger(gather_bytes: int, expected: list[list[str]]) -> None:
    assert taken(queue_of(firm("a"), firm("b"), firm("c"), firm("d")), gather_bytes) == expected


def test_a_run_larger_than_that_is_taken_whole_and_alone() -> None:
    assert taken(queue_of(firm("a", "b", "c"), firm("d")), 20) == [["a", "b", "c"], ["d"]]


@pytest.mark.parametrize("alone", [("x", 10, True), ("x", 0, False)])
def test_what_is_droppable_or_has_no_size_is_taken_alone(alone: tuple[str, int, bool]) -> None:
    queue = queue_of(firm("a"), firm("b"), [alone, ("y", 10, False)], firm("c"), firm("d"))

    assert taken(queue, 10**6) == [["a", "b"], ["x", "y"], ["c", "d"]]


def test_a_run_that_is_not_complete_is_not_taken_along() -> None:
    queue = queue_of(firm("a"))
    queue.add("b", 10, droppable=False, ends=False)

    assert queue.take(10**6) == ["a"]
    queue.done()
    assert (queue.runs, queue.is_empty) == (0, False)
    queue.add("c", 10, droppable=False, ends=True)
    assert queue.take(10**6) == ["b", "c"]


def test_a_run_with_something_droppable_in_its_midst_is_taken_alone() -> None:
    queue = queue_of(firm("a"), [("b", 10, False), ("x", 10, True), ("c", 10, False)], firm("d"))

    assert taken(queue, 10**6) == [["a"], ["b", "x", "c"], ["d"]]


def test_what_was_put_back_comes_again_as_it_was() -> None:
    queue = queue_of(firm("a"), firm("b"))
    assert queue.take(10**6) == ["a", "b"]
    queue.put_back()
    queue.add("c", 10, droppable=False, ends=True)

    assert taken(queue, 10**6) == [["a", "b"], ["c"]]


def test_what_is_taken_for_ever_costs_nothing_for_what_is_dropped_behind_it() -> None:
    queue: BoundedQueue[int] = BoundedQueue(100)
    for number in range(1000):
        queue.add(number, 10, droppable=False, ends=True)
        if number == 0:
            assert queue.take() == [0]

    assert len(queue._entries) + len(queue._others) < 200


def test_runs_that_are_put_back_are_as_many_as_before_and_may_be_dropped_one_by_one() -> None:
    queue = queue_of(firm("a"), firm("b"), firm("c"))
    assert queue.take(10**6) == ["a", "b", "c"]
    queue.put_back()

    assert queue.runs == 3
    assert queue.shrink(20) == ["a"]
    assert queue.runs == 2
    assert taken(queue, 10**6) == [["b", "c"]]
