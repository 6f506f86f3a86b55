"""The SQLite schema, as versioned migrations: the database's user_version says how many it has seen."""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE writer (id INTEGER PRIMARY KEY CHECK (id = 1), claim INTEGER NOT NULL, owner TEXT NOT NULL);
    INSERT INTO writer VALUES (1, 0, '');
    CREATE TABLE offsets (stream TEXT PRIMARY KEY, next INTEGER NOT NULL, owner TEXT NOT NULL);
    CREATE TABLE state (kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, UNIQUE (kind, key));
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        line_uid TEXT NOT NULL UNIQUE,
        finding_uid TEXT NOT NULL,
        rule TEXT NOT NULL,
        activity INTEGER NOT NULL,
        mode TEXT NOT NULL,
        stored REAL NOT NULL,   -- wall clock, seconds
        body TEXT NOT NULL      -- the finding as JSON
    );
    CREATE TABLE deliveries (
        sink TEXT NOT NULL,
        seq INTEGER NOT NULL REFERENCES outbox (seq) ON DELETE CASCADE,
        state INTEGER NOT NULL DEFAULT 0,  -- 0 pending, 1 delivered, 2 dead
        attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT,
        PRIMARY KEY (sink, seq)
    ) WITHOUT ROWID;
    CREATE INDEX deliveries_pending ON deliveries (sink, seq) WHERE state = 0;
    CREATE INDEX deliveries_seq ON deliveries (seq);
    CREATE TABLE sink_totals (
        sink TEXT PRIMARY KEY,
        routed INTEGER NOT NULL DEFAULT 0,
        delivered INTEGER NOT NULL DEFAULT 0,
        dead INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE rejected (
        stream TEXT NOT NULL,
        position INTEGER NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        value BLOB NOT NULL,
        stored REAL NOT NULL,
        PRIMARY KEY (stream, position)
    );
    """,
    """
    ALTER TABLE deliveries ADD COLUMN octets INTEGER NOT NULL DEFAULT 0;
    UPDATE deliveries SET octets = (SELECT length(CAST(body AS BLOB)) FROM outbox o WHERE o.seq = deliveries.seq)
        WHERE state = 0;
    DROP INDEX deliveries_pending;
    CREATE INDEX deliveries_pending ON deliveries (sink, seq, octets) WHERE state = 0;
    CREATE INDEX deliveries_dead ON deliveries (sink, seq) WHERE state = 2;
    ALTER TABLE sink_totals ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
    """,
)
