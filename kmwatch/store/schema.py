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
    """
    CREATE INDEX outbox_stored ON outbox (stored);  -- what is pruned is found without a look at what stays
    CREATE INDEX rejected_stored ON rejected (stored);
    """,
    """
    CREATE INDEX outbox_finding ON outbox (finding_uid);
    CREATE TABLE reads (
        event_id TEXT PRIMARY KEY,
        event_time INTEGER NOT NULL,  -- microseconds since 1970
        secret_id TEXT,
        user_id TEXT,
        user_name TEXT,
        project_id TEXT,
        address TEXT,
        place BLOB,                   -- sortable form of an address (core.ledger.place)
        agent TEXT,
        explained INTEGER,            -- 1, 0, or NULL: cannot be decided
        declaration TEXT,
        request_id TEXT,
        more TEXT NOT NULL            -- core.ledger.More as JSON
    );
    CREATE INDEX reads_time ON reads (event_time, event_id);
    CREATE INDEX reads_secret ON reads (secret_id, event_time);
    CREATE INDEX reads_user ON reads (user_id, event_time);
    CREATE INDEX reads_project ON reads (project_id, event_time);
    CREATE INDEX reads_declaration ON reads (declaration, event_time);
    CREATE INDEX reads_place ON reads (place, event_time);
    CREATE INDEX reads_request ON reads (request_id);
    CREATE TABLE ledger (id INTEGER PRIMARY KEY CHECK (id = 1), rows INTEGER NOT NULL, evicted INTEGER NOT NULL);
    INSERT INTO ledger VALUES (1, 0, 0);
    """,
    """
    CREATE TABLE journal (
        stream TEXT NOT NULL,
        position INTEGER NOT NULL,
        at INTEGER NOT NULL,    -- microseconds since 1970
        base INTEGER NOT NULL,  -- 1: a part of all that was known then
        value BLOB NOT NULL,
        PRIMARY KEY (stream, position)
    );
    CREATE INDEX journal_base ON journal (stream, at, position) WHERE base = 1;
    """,
    """
    -- Nearly every event is called after its request: an index of those would say again what the primary key says.
    DROP INDEX reads_request;
    CREATE INDEX reads_request ON reads (request_id) WHERE event_id <> 'api:' || request_id;
    """,
)
