"""Parts of an image that are computed at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

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


def test_after_an_error_no_further_part_begins():
    begun, main, failed = [], threading.current_thread(), threading.Event()

    def part(item: int) -> None:
        begun.append(item)
        if threading.current_thread() is main:
            failed.set()
            raise ZeroDivisionError
        failed.wait(10)
        time.sleep(0.05)

    with threads.limited(2), pytest.raises(ZeroDivisionError):
        threads.together(part, range(40))
    assert len(begun) <= 3


def test_no_parts_are_nothing():
    assert threads.together(lambda item: item, []) == []


def blas_threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.skipif(not blas_threads(), reason="no library of products whose threads can be counted")
def test_products_take_one_thread_until_they_are_done():
    with threadpool_limits(2, "blas"):
        with threads.one_for_products(), threads.one_for_products():
            assert blas_threads() == {1}
        assert blas_threads() == {2}
        with ThreadPoolExecutor(1) as pool:
            pool.submit(threads.one_for_products().__enter__).result()
        assert blas_threads() == {2}
