"""Which of several requests a line without a request id tells of: only where there is no doubt.

Requests and lines are the two sides of a graph; an edge joins what fits. A pair is beyond doubt if every way of
giving each line a request of its own, and each request a line, contains it. With as many lines as requests and one
such way only, taking off leaves (what fits one thing only) finds it: a graph with a unique perfect matching always
has a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

MOST = 64  # of either side; who sends more of the same at the same moment is not told apart


def component(
    start: A, fits_of: Callable[[A], Iterable[B]], fitted_by: Callable[[B], Iterable[A]]
) -> dict[int, tuple[A, dict[int, B]]] | None:
    """All requests that compete with `start` for lines, each with the lines that fit it.

    Returns:
        By number, requests with their lines by number; None if there are more than MOST.
    """
    found: dict[int, tuple[A, dict[int, B]]] = {}
    lines: set[int] = set()
    todo = [start]
    while todo:
        request = todo.pop()
        if id(request) in found:
            continue
        fitting = {id(line): line for line in islice(fits_of(request), MOST + 1)}
        found[id(request)] = request, fitting
        for number, line in fitting.items():
            if number not in lines:
                lines.add(number)
                todo.extend(islice((other for other in fitted_by(line) if id(other) not in found), MOST + 1))
        if len(found) > MOST or len(lines) > MOST:
            return None
    return found


def unique(found: dict[int, tuple[A, dict[int, B]]]) -> list[tuple[A, B]] | None:
    """The one way to give each request a line and each line a request; None if there is none, or more than one."""
    left = {number: dict(lines) for number, (_, lines) in found.items()}
    if len({line for lines in left.values() for line in lines}) != len(left):
        return None
    pairs = []
    while left:
        leaf = next((number for number, lines in left.items() if len(lines) == 1), None)
        if leaf is None:
            leaf = _only_taker(left)
        if leaf is None:
            return None
        lines = left.pop(leaf)
        line = next(iter(lines))
        pairs.append((found[leaf][0], lines[line]))
        for others in left.values():
            others.pop(line, None)
        if any(not others for others in left.values()):
            return None
    return pairs


def _only_taker(left: dict[int, dict[int, B]]) -> int | None:
    """A request with a line that fits no other; it is left with that line alone."""
    takers: dict[int, list[int]] = {}
    for number, lines in left.items():
        for line in lines:
            takers.setdefault(line, []).append(number)
    for line, numbers in takers.items():
        if len(numbers) == 1:
            left[numbers[0]] = {line: left[numbers[0]][line]}
            return numbers[0]
    return None
