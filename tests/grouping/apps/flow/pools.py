import math
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context


def _square(number):
    if number < 0:
        raise ArithmeticError(f"{number} is negative")
    return number * number


def _root(number):
    if number < 0:
        raise ArithmeticError(f"{number} is negative")
    return math.sqrt(number)


def _in_processes(function, items):
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return list(pool.map(function, items))


def squares(numbers):  # seam
    return _in_processes(_square, numbers)


def roots(numbers):  # seam
    return _in_processes(_root, numbers)


def parse_all(texts):  # seam
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(int, texts))
