"""Points matched with intervals: what the backend did, each within an API request that accounts for it.

A point takes the free interval that holds it and ends first, which loses nothing while points come in the order of
time (earliest deadline first). Where none is free, those that others took are looked through for one whose point can
go elsewhere (an augmenting path), so that as few points as possible are left over, whatever the order.

What is left over has a proof (Hall's theorem): the points that reach each other through the intervals they share are
one more than those intervals hold. Which of them is the one too many, nobody can tell, so all of them are named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any, Final

from msgspec import Struct, field

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import SECOND, Micros

_MOST_EXPLORED: Final = 500  # points of one search: under such a crowd a surplus may be told early, never missed
_LONGEST: Micros = 600 * SECOND  # of an interval, as far as it is indexed


class Rank(IntEnum):
    """How surely a request has reached the backend; the surest are used up first."""

    SURE = 0
    MAYBE = 1  # its answer shows no payload, and would not if there had been one
    FAILED = 2  # it ended in a server error: the backend may have served it before that, or refused it
    DOUBT = 3  # nobody knows how it ended: rather a remark than an excuse


_UNSURE: Final = (Rank.MAYBE, Rank.FAILED)


class Cover(Struct):
    """An API request that accounts for at most `capacity` points between its begin and its end."""

    id: str
    began: Micros
    ended: Micros
    rank: Rank = Rank.SURE
    capacity: int = 1
    secret: str | None = None  # what it is about, if one secret
    keyed: bool = False  # where the backend keeps that secret is known: points of unknown secrets are others
    points: list[str] = field(default_factory=list)


class Point(Struct):
    """Something the backend did."""

    id: str
    at: Micros
    secret: str | None = None  # that it is about, where the log shows a key that is known
    sure_only: bool = False  # who did it is not known as the Key Manager: only sure requests are its excuse
    cover: str | None = None


class Offset(Struct):
    """How far the backend's clock is ahead of the API's: between these, by all pairs beyond doubt."""

    least: Micros
    most: Micros


class Left(Struct, frozen=True):
    """A point that nothing accounts for, or only a doubt."""

    point: str
    points: tuple[str, ...]  # those that compete with it, itself included, in the order of time
    covers: tuple[str, ...]  # what they share
    doubt: str | None = None  # the request that may account for it all the same


class Pool:
    """Requests and points of one kind that are still at hand; bounded, the least recently used go first."""

    def __init__(self, name: str, tolerance: Micros, limit: int) -> None:
        """Believe times up to `tolerance`, which is the clocks' error."""
        self.covers: Keyed[Cover] = Keyed(f"backend/{name}/covers", Cover, limit, self._forget)
        self.is_crowded = False  # requests had to go that points may still come for
        self.points: Keyed[Point] = Keyed(f"backend/{name}/points", Point, limit)
        self.offset: Keyed[Offset] = Keyed(f"backend/{name}/offset", Offset, 1)
        self._tolerance = tolerance
        self._at: dict[int, dict[str, None]] = {}  # by second: the covers that hold some of it

    def open(self, cover: Cover) -> None:
        """A request is known; told again, with more evidence, it keeps its points."""
        known = self.covers.get(cover.id)
        if known is not None:
            cover.points = known.points
            self._unindex(known)
        self.covers.put(cover.id, cover)
        for second in self._seconds(cover):
            self._at.setdefault(second, {})[cover.id] = None

    def place(self, point: Point) -> Left | None:
        """Match a point; what it may be matched with must be known. Returns what is left over, if it is."""
        self.points.put(point.id, point)
        holding = list(self.holding(point))
        free = [cover for cover in holding if self._is_free(cover) and cover.rank is Rank.SURE]
        if not free:
            return self._explore(point)
        self._give(point, min(free, key=_deadline))
        if len(holding) == 1:
            self._learn(point, free[0])
        return None

    def holding(self, point: Point) -> Iterator[Cover]:
        """The requests that may account for a point."""
        at, tolerance, secret = point.at, self._tolerance, point.secret
        for key in self._at.get(at // SECOND, ()):
            cover = self.covers.get(key)
            if cover is None or not cover.began - tolerance <= at <= cover.ended + tolerance:
                continue
            fits = not cover.keyed if secret is None else cover.secret in (None, secret)
            if fits and not (point.sure_only and cover.rank in _UNSURE):
                yield cover

    def use(self, point: Point, cover: Cover) -> None:
        """Match a point with a request that is known to be its own."""
        self.points.put(point.id, point)
        self._give(point, cover)

    def is_ambiguous(self, cover: Cover) -> bool:
        """Whether its points may as well be another request's that was never used up."""
        points = [point for key in cover.points if (point := self.points.get(key)) is not None]
        return any(
            other.id != cover.id and len(other.points) < other.capacity and other.rank in (Rank.SURE, Rank.MAYBE)
            for point in points
            for other in self.holding(point)
            if self.is_near(point, other)
        )

    def retire(self, before: Micros) -> list[Cover]:
        """Let go of requests that ended before, with their points; returns them, the first that ended first."""
        over = sorted((cover for _, cover in self.covers.items() if cover.ended < before), key=_deadline)
        for cover in over:
            self.covers.pop(cover.id)
            self._unindex(cover)
            for key in cover.points:
                self.points.pop(key)
        for key, point in list(self.points.items()):
            if point.at < before and (point.cover is None or self.covers.get(point.cover) is None):
                self.points.pop(key)
        return over

    def states(self) -> Iterable[Keyed[Any]]:
        """All memory, for commit and restore."""
        return (self.covers, self.points, self.offset)

    def index(self) -> None:
        """Find derived state again after a restore."""
        self._at = {}
        for key, cover in self.covers.items():
            for second in self._seconds(cover):
                self._at.setdefault(second, {})[key] = None

    def _learn(self, point: Point, cover: Cover) -> None:
        """A pair beyond doubt bounds the difference of the clocks; a pair that contradicts begins anew."""
        least, most = point.at - cover.ended, point.at - cover.began
        known = self.offset.get("") or Offset(-self._tolerance, self._tolerance)
        least, most = max(known.least, least), min(known.most, most)
        fresh = Offset(least, most) if least <= most else Offset(point.at - cover.ended, point.at - cover.began)
        if fresh != known:
            self.offset.put("", fresh)

    def is_near(self, point: Point, cover: Cover) -> bool:
        """Whether a request held a point by what the clocks have shown, and not only by what they are allowed."""
        known = self.offset.get("")
        return known is None or (point.at - known.most <= cover.ended and point.at - known.least >= cover.began)

    def _forget(self, _: str, cover: Cover) -> None:
        self._unindex(cover)
        self.is_crowded = True

    def _is_free(self, cover: Cover) -> bool:
        return len(cover.points) < cover.capacity

    def _explore(self, point: Point) -> Left | None:
        """Look for a free request along those that are taken, breadth first, else say what competes."""
        came: dict[str, tuple[Cover, Point] | None] = {point.id: None}  # point -> through which request of whom
        depth, covers = {point.id: 0}, dict[str, Cover]()
        free: list[tuple[Rank, int, bool, tuple[Micros, Micros, str], Cover, Point]] = []
        queue = deque([point])
        while queue and len(came) < _MOST_EXPLORED:
            one = queue.popleft()
            for cover in self.holding(one):
                if self._is_free(cover):
                    free.append((cover.rank, depth[one.id], not self.is_near(one, cover), _deadline(cover), cover, one))
                if cover.id in covers:
                    continue
                covers[cover.id] = cover
                for key in cover.points:
                    other = self.points.get(key)
                    if other is not None and key not in came:
                        came[key], depth[key] = (cover, one), depth[one.id] + 1
                        queue.append(other)
        best = min(free, key=lambda found: found[:4], default=None)
        if best is not None:
            self._shift(best[4], best[5], came)
            if best[0] is not Rank.DOUBT:
                return None
        return self._competing(point, None if best is None else best[4].id)

    def _competing(self, point: Point, doubt: str | None) -> Left:
        """What competes with a point, by what the clocks have shown: the closest circle that proves the surplus."""
        points, covers, queue = {point.id: point}, dict[str, Cover](), deque([point])
        while queue and len(points) < _MOST_EXPLORED:
            one = queue.popleft()
            for cover in self.holding(one):
                if cover.id in covers or not self.is_near(one, cover):
                    continue
                covers[cover.id] = cover
                for key in cover.points:
                    other = self.points.get(key)
                    if other is not None and key not in points:
                        points[key] = other
                        queue.append(other)
        told = tuple(one.id for one in sorted(points.values(), key=lambda one: (one.at, one.id)))
        return Left(point.id, told, tuple(sorted(covers, key=lambda key: _deadline(covers[key]))), doubt)

    def _shift(self, free: Cover, point: Point, came: dict[str, tuple[Cover, Point] | None]) -> None:
        """Give a free request to a point, and what that held to the one it was found through, and so on."""
        while True:
            through = came[point.id]
            self._give(point, free)
            if through is None:
                return
            free, point = through

    def _give(self, point: Point, cover: Cover) -> None:
        held = None if point.cover is None else self.covers.get(point.cover)
        if held is not None:
            held.points.remove(point.id)
            self.covers.put(held.id, held)
        point.cover = cover.id
        cover.points.append(point.id)
        self.points.put(point.id, point)
        self.covers.put(cover.id, cover)

    def _seconds(self, cover: Cover) -> range:
        first = (cover.began - self._tolerance) // SECOND
        last = (min(cover.ended, cover.began + _LONGEST) + self._tolerance) // SECOND
        return range(first, max(first, last) + 1)

    def _unindex(self, cover: Cover) -> None:
        for second in self._seconds(cover):
            here = self._at.get(second)
            if here is not None:
                here.pop(cover.id, None)
                if not here:
                    del self._at[second]


def _deadline(cover: Cover) -> tuple[Micros, Micros, str]:
    return cover.ended, cover.began, cover.id
