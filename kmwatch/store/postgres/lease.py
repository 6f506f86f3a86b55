"""Who is the active instance: an election in the database, by a lease that its holder renews.

The lease only says who should be active; what keeps two from writing is the epoch, which every transaction verifies
(statements.FENCE). So nothing here needs to be exact: a holder that is late, or believes in a lease that has run
out, can delay a takeover or be fenced, and change nothing.

It has a thread and a connection of its own: neither a long batch nor a busy event loop lets it lapse.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from contextlib import suppress
from typing import Any

import psycopg
from msgspec import Struct, structs

from kmwatch.ports import Standing, StoreError
from kmwatch.store.postgres import statements
from kmwatch.store.postgres.connection import Connection, Target, connect, text, until

_RENEWALS = 4  # in one lease: two may fail before it runs out
_LEAST_PAUSE = 0.05


class Tenure(Struct, frozen=True):
    """One epoch of this instance. The token tells it from the same number in a database that has forgotten it."""

    epoch: int
    token: str


class Lease:
    """Competes where it is asked to, and renews what it has won."""

    def __init__(self, target: Target, owner: str, seconds: float) -> None:
        """Describe it; the thread starts when it is first needed.

        Args:
            target: the database.
            owner: names this instance, for people.
            seconds: how long the lease lasts without a renewal.
        """
        self._target, self._owner, self._seconds = target, owner, seconds
        self._connection: Connection | None = None
        self._tenure: Tenure | None = None
        self._deadline = 0.0  # monotonic; ours ends before the database's
        self._standing = Standing()
        self._trouble: str | None = None
        self._wanted: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[Tenure]]] = []
        self._changed = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look who is active."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
            self._thread.start()

    def held(self) -> Tenure | None:
        """Our tenure, unless its lease has run out without a renewal."""
        tenure = self._tenure
        return tenure if tenure is not None and time.monotonic() < self._deadline else None

    def standing(self) -> Standing:
        """Who is active, as far as was seen last."""
        standing = self._standing
        if standing.active and self.held() is None:
            return Standing(active=False, epoch=standing.epoch, since=standing.since, trouble=self._trouble)
        return structs.replace(standing, trouble=self._trouble)

    async def win(self) -> Tenure:
        """Wait, however long it takes, until this instance is the active one, in a new epoch."""
        loop = asyncio.get_running_loop()
        won: asyncio.Future[Tenure] = loop.create_future()
        with self._changed:
            self._wanted.append((loop, won))
        self._wake.set()
        self.start()
        return await won

    def resign(self) -> None:
        """Let another instance have it at once, if this one has it."""
        with self._changed:
            tenure, self._tenure = self._tenure, None
        if tenure is None:
            return
        with suppress(psycopg.Error, StoreError):  # then it runs out
            parameters = {"epoch": tenure.epoch, "token": tenure.token}
            connection = connect(self._target, seconds=self._patience, lease=self._seconds, lock_seconds=self._patience)
            with connection:
                connection.gives_up = until(self._patience)
                connection.execute(statements.RESIGN, parameters)

    def close(self) -> None:
        """Resign, and end the thread."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self.resign()

    @property
    def _patience(self) -> float:
        return self._seconds / 3

    def _run(self) -> None:
        while not self._closing:
            self._wake.clear()
            began = time.monotonic()
            try:
                self._beat()
                self._trouble = None
            except (psycopg.Error, StoreError) as error:
                self._trouble = text(error) if isinstance(error, psycopg.Error) else str(error)
                self._disconnect()
            except Exception as error:  # noqa: BLE001  (the boundary of a thread: the lease runs out, and /status says why)
                self._trouble = f"{type(error).__name__}: {error}"
                self._disconnect()
            self._wake.wait(max(self._seconds / _RENEWALS - (time.monotonic() - began), _LEAST_PAUSE))
        self._disconnect()

    def _beat(self) -> None:
        tenure = self._tenure
        if tenure is not None and self.held() is None:
            self.lose(tenure)
            tenure = None
        if self._wants():
            self._compete(tenure)
        elif tenure is not None:
            self._renew(tenure)
        if self._tenure is None:
            self._look()

    def _wants(self) -> bool:
        with self._changed:
            self._wanted = [(loop, won) for loop, won in self._wanted if not won.done() and not loop.is_closed()]
            return bool(self._wanted)

    def _compete(self, tenure: Tenure | None) -> None:
        token, asked = secrets.token_hex(16), time.monotonic()
        row = self._ask(
            statements.COMPETE,
            token=token,
            owner=self._owner,
            lease=self._interval,
            before="" if tenure is None else tenure.token,
        )
        if row is None:
            return
        epoch, since = row
        won = Tenure(epoch, token)
        with self._changed:
            self._deadline = asked + self._seconds
            self._tenure = won
            self._standing = Standing(active=True, epoch=won.epoch, since=since, owner=self._owner)
            wanted, self._wanted = self._wanted, []
        for loop, future in wanted:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_tell, future, won)

    def _renew(self, tenure: Tenure) -> None:
        asked = time.monotonic()
        if self._ask(statements.RENEW, lease=self._interval, epoch=tenure.epoch, token=tenure.token) is None:
            self.lose(tenure)
            return
        with self._changed:
            if self._tenure is tenure:
                self._deadline = asked + self._seconds

    def _look(self) -> None:
        row = self._ask(statements.LOOK)
        if row is not None and self._tenure is None:
            epoch, since, owner, valid = row
            self._standing = Standing(active=False, epoch=epoch, since=since, owner=owner if valid else None)

    def lose(self, tenure: Tenure) -> None:
        """A transaction has found another epoch: this tenure is over."""
        with self._changed:
            if self._tenure is tenure:
                self._tenure = None

    def _ask(self, statement: str, **parameters: object) -> tuple[Any, ...] | None:
        if self._connection is None:
            self._connection = connect(
                self._target, seconds=self._patience, lease=self._seconds, lock_seconds=self._patience
            )
        self._connection.gives_up = until(self._patience)
        return self._connection.execute(statement, parameters).fetchone()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    @property
    def _interval(self) -> str:
        return f"{self._seconds} seconds"


def _tell(future: asyncio.Future[Tenure], won: Tenure) -> None:
    if not future.done():
        future.set_result(won)
