"""The PostgreSQL schema, as versioned migrations: the table `schema_version` says how many it has seen.

They run in one transaction, under a lock, as whoever owns the schema: the daemon's own role need own nothing.
"""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE schema_version (id int PRIMARY KEY CHECK (id = 1), version int NOT NULL);
    INSERT INTO schema_version VALUES (1, 0);
    DO $$  -- default privileges let others write every table; this one is its owner's
    DECLARE other name;
    BEGIN
        FOR other IN SELECT DISTINCT grantee FROM information_schema.role_table_grants
            WHERE table_schema = current_schema AND table_name = 'schema_version' AND grantee <> current_user
        LOOP EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON schema_version FROM %I', other); END LOOP;
    END $$;
    CREATE TABLE writer (
        id int PRIMARY KEY CHECK (id = 1),
        epoch bigint NOT NULL,         -- grows with each takeover
        token text NOT NULL,           -- drawn anew for each: a restored database counts epochs again
        owner text NOT NULL,           -- for people
        since timestamptz NOT NULL,
        expires timestamptz NOT NULL,  -- by this database's clock
        commits bigint NOT NULL,       -- of this epoch; tells whether a commit of unknown outcome was written
        written bigint NOT NULL,       -- numbers given to rows of state
        lines bigint NOT NULL          -- numbers given to lines of the outbox
    ) WITH (fillfactor = 10);
    INSERT INTO writer VALUES (1, 0, '', '', now(), '-infinity', 0, 0, 0);
    CREATE TABLE offsets (stream text PRIMARY KEY, next bigint NOT NULL, owner text NOT NULL) WITH (fillfactor = 50);
    CREATE TABLE state (
        kind text NOT NULL,
        key bytea NOT NULL,  -- UTF-8: text of PostgreSQL cannot hold every string
        value bytea NOT NULL,
        written bigint NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.1);
    CREATE TABLE outbox (
        seq bigint PRIMARY KEY,
        line_uid text NOT NULL UNIQUE,
        finding_uid text NOT NULL,
        rule text NOT NULL,
        activity int NOT NULL,
        mode text NOT NULL,
        stored double precision NOT NULL,  -- wall clock, seconds
        body text NOT NULL                 -- the finding as JSON
    ) WITH (autovacuum_vacuum_scale_factor = 0.05);
    CREATE INDEX outbox_stored ON outbox (stored);
    CREATE TABLE deliveries (
        seq bigint NOT NULL REFERENCES outbox ON DELETE CASCADE,
        sink text NOT NULL,
        state smallint NOT NULL DEFAULT 0,  -- 0 pending, 1 delivered, 2 dead
        attempts int NOT NULL DEFAULT 0,
        error text,
        octets bigint NOT NULL DEFAULT 0,   -- of the line's body
        PRIMARY KEY (seq, sink)
    ) WITH (autovacuum_vacuum_scale_factor = 0.05);
    CREATE INDEX deliveries_pending ON deliveries (sink, seq) INCLUDE (octets) WHERE state = 0;
    CREATE INDEX deliveries_dead ON deliveries (sink, seq) WHERE state = 2;
    CREATE INDEX deliveries_owed ON deliveries (seq) WHERE state <> 1;  -- what keeps a line from being pruned
    CREATE TABLE sink_totals (
        sink text PRIMARY KEY,
        routed bigint NOT NULL DEFAULT 0,
        delivered bigint NOT NULL DEFAULT 0,
        dead bigint NOT NULL DEFAULT 0,
        forgotten bigint NOT NULL DEFAULT 0
    ) WITH (fillfactor = 50);
    CREATE TABLE rejected (
        stream text NOT NULL,
        position bigint NOT NULL,
        reason text NOT NULL,
        detail text NOT NULL,
        value bytea NOT NULL,
        stored double precision NOT NULL,
        PRIMARY KEY (stream, position)
    );
    CREATE INDEX rejected_stored ON rejected (stored);
    CREATE FUNCTION demand(holds boolean, code text, otherwise text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        IF holds IS NOT TRUE THEN RAISE EXCEPTION '%', otherwise USING ERRCODE = code; END IF;
    END $$;
    """,
    """
    CREATE INDEX outbox_finding ON outbox (finding_uid);
    CREATE TABLE reads (
        event_id text COLLATE "C" PRIMARY KEY,  -- ordered as SQLite does, whatever the database's collation
        event_time bigint NOT NULL,             -- microseconds since 1970
        secret_id text,
        user_id text,
        user_name text,
        project_id text,
        address text,
        place bytea,                            -- sortable form of an address (core.ledger.place)
        agent text,
        explained smallint,                     -- 1, 0, or NULL: cannot be decided
        declaration text,
        request_id text,
        more text NOT NULL                      -- core.ledger.More as JSON
    ) WITH (autovacuum_vacuum_scale_factor = 0.05);
    CREATE INDEX reads_time ON reads (event_time, event_id);
    CREATE INDEX reads_secret ON reads (secret_id, event_time);
    CREATE INDEX reads_user ON reads (user_id, event_time);
    CREATE INDEX reads_project ON reads (project_id, event_time);
    CREATE INDEX reads_declaration ON reads (declaration, event_time);
    CREATE INDEX reads_place ON reads (place, event_time);
    CREATE INDEX reads_request ON reads (request_id);
    CREATE TABLE ledger (id int PRIMARY KEY CHECK (id = 1), rows bigint NOT NULL, evicted bigint NOT NULL)
        WITH (fillfactor = 10);
    INSERT INTO ledger VALUES (1, 0, 0);
    """,
    """
    CREATE TABLE journal (
        stream text NOT NULL,
        position bigint NOT NULL,
        at bigint NOT NULL,    -- microseconds since 1970
        base smallint NOT NULL,  -- 1: a part of all that was known then
        value bytea NOT NULL,
        PRIMARY KEY (stream, position)
    );
    CREATE INDEX journal_base ON journal (stream, at, position) WHERE base = 1;
    """,
)

TABLES = ("writer", "offsets", "state", "outbox", "deliveries", "sink_totals", "rejected", "reads", "ledger", "journal")
