"""Parts of an image that are computed at once."""

import pytest

from dctcodec import threads


@pytest.mark.parametrize("number", [1, 2, 5])
def test_parts_share_the_threads_and_keep_their_order(number: int):
    with threads.limited(number):
        found = threads.together(lambda item: (item, threads.count()), range(7))
        assert found == [(item, max(1, number // threads.AT_ONCE)) for item in range(7)]
        assert threads.count() == number


def test_what_a_part_raises_is_raised():
    with threads.limited(2), pytest.raises(ZeroDivisionError):
        threads.together(lambda item: 1 // item, [1, 0, 2])


def test_no_parts_are_nothing():
    assert threads.together(lambda item: item, []) == []
