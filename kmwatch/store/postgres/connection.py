"""A connection to PostgreSQL that never waits for ever, whatever the network does."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from msgspec import Struct
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from kmwatch.ports import StoreError

T = TypeVar("T")
FENCED, MOVED = "KMW01", "KMW02"  # SQLSTATEs of the schema's function `demand`: of another epoch, offsets differ
_KEEPALIVE: dict[str, Any] = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3}
_DEBIAN_ROOTS = "/etc/ssl/certs/ca-certificates.crt"


class Target(Struct, frozen=True):
    """Where the database is, and as whom to speak to it. `password` goes nowhere but to the server."""

    url: str
    schema: str = "kmwatch"
    password: str | None = None
    sslmode: str = "verify-full"
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __repr__(self) -> str:
        """Without the password, wherever it may be printed."""
        return f"Target({self.name})"

    @property
    def name(self) -> str:
        """The place as messages show it: no user, no password, no parameters."""
        given = conninfo_to_dict(self.url)
        hosts, ports = str(given.get("host") or "local").split(","), str(given.get("port") or "5432").split(",")
        ports += ports[-1:] * (len(hosts) - len(ports))
        places = ",".join(f"{host}:{port}" for host, port in zip(hosts, ports, strict=False))
        return f"postgresql://{places}/{given.get('dbname') or ''} schema {self.schema}"


class _GaveUpError(psycopg.OperationalError):
    """The server did not answer in time."""


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """Gives up, and is unusable from then on, once `gives_up` says so.

    TCP by itself would not do: behind a proxy, or with a server that is stopped, bytes are acknowledged and no
    answer ever comes.
    """

    gives_up: Callable[[], bool] = staticmethod(lambda: False)

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **more: Any) -> T:  # noqa: ANN401  (psycopg's)
        """See psycopg: waits for the generator, which is resumed ten times a second whatever happens."""
        try:
            return super().wait(self._watched(gen), *args, **more)
        except _GaveUpError:
            self.pgconn.finish()
            raise

    def _watched(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and self.gives_up():
                    raise _GaveUpError("the server does not answer")
                wanted = gen.send(ready)
        except StopIteration as done:
            value: T = done.value
            return value


def connect(target: Target, *, seconds: float, lease: float, lock_seconds: float = 0.0) -> Connection:
    """Connect.

    Args:
        target: where.
        seconds: how long to try, for each host of the URL.
        lease: how long the server may wait for us within a transaction, before it ends it and frees its locks.
        lock_seconds: how long a statement may wait for a lock; 0: as long as it takes.

    Raises:
        StoreError: no connection; the message says what to check.
    """
    options = {
        "idle_in_transaction_session_timeout": f"{int(lease * 1000)}",
        "synchronous_commit": "on",
        "default_transaction_isolation": "read\\ committed",
        "client_connection_check_interval": "2s",
        "lock_timeout": f"{int(lock_seconds * 1000)}",
    }
    try:
        connection = Connection.connect(
            target.url,
            autocommit=True,
            connect_timeout=max(2, int(seconds)),
            options=" ".join(f"-c {name}={value}" for name, value in options.items()),
            application_name="kmwatch",
            **(_KEEPALIVE | _session(target) | _tls(target)),
        )
        try:
            connection.gives_up = until(max(2, seconds))
            connection.execute(sql.SQL("SET search_path = {}, pg_temp").format(sql.Identifier(target.schema)))
        except BaseException:
            connection.close()
            raise
    except psycopg.Error as error:
        raise StoreError(f"cannot open the store {target.name}: {text(error)}; check store.postgres") from error
    return connection


def text(error: psycopg.Error) -> str:
    """An error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def until(seconds: float) -> Callable[[], bool]:
    """Says when these seconds are over."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _session(target: Target) -> dict[str, Any]:
    """Of several hosts the one that may be written: what a failover has made the primary."""
    given: dict[str, Any] = {"target_session_attrs": "read-write"}
    if target.password is not None:
        given["password"] = target.password
    return given


def _tls(target: Target) -> dict[str, Any]:
    given = {"sslmode": target.sslmode}
    if target.sslmode in ("verify-full", "verify-ca"):
        roots = str(target.ca) if target.ca is not None else ssl.get_default_verify_paths().cafile or _DEBIAN_ROOTS
        given["sslrootcert"] = roots
    if target.cert is not None and target.key is not None:
        given |= {"sslcert": str(target.cert), "sslkey": str(target.key)}
    return given
