"""Every statement of the store on PostgreSQL. A batch is a handful of them, sent together, whatever its size."""

from __future__ import annotations

FENCE = """
    WITH held AS (
        UPDATE writer SET expires = clock_timestamp() + %(lease)s, commits = commits + 1,
            written = written + %(rows)s, lines = lines + %(lines)s
        WHERE epoch = %(epoch)s AND token = %(token)s RETURNING 1
    )
    SELECT demand(EXISTS (SELECT FROM held), 'KMW01', 'another instance has taken over this store')
"""

MOVE = """
    WITH given AS (
        SELECT * FROM unnest(%(streams)s::text[], %(expected)s::bigint[], %(nexts)s::bigint[])
            g (stream, expected, next)
    ), fresh AS (
        INSERT INTO offsets (stream, next, owner) SELECT stream, next, %(owner)s FROM given WHERE expected IS NULL
        ON CONFLICT DO NOTHING RETURNING stream
    ), moved AS (
        UPDATE offsets SET next = given.next, owner = %(owner)s FROM given
        WHERE offsets.stream = given.stream AND offsets.next = given.expected RETURNING offsets.stream
    )
    SELECT demand(count(*) = 0, 'KMW02', 'another instance has moved ' || string_agg(stream || ' on from '
        || coalesce(expected::text, 'nowhere'), ', '))
    FROM given WHERE stream NOT IN (SELECT stream FROM fresh UNION ALL SELECT stream FROM moved)
"""

FORGET = """
    DELETE FROM state USING unnest(%(kinds)s::text[], %(keys)b::bytea[]) g (kind, key)
    WHERE state.kind = g.kind AND state.key = g.key
"""

# `writer.written` was raised by FENCE, in the same transaction, by the number of these rows.
REMEMBER = """
    INSERT INTO state (kind, key, value, written)
    SELECT g.kind, g.key, g.value, writer.written - %(rows)s + g.number
    FROM writer, unnest(%(kinds)s::text[], %(keys)b::bytea[], %(values)b::bytea[])
        WITH ORDINALITY g (kind, key, value, number)
    ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, written = excluded.written
"""

REJECT = """
    INSERT INTO rejected (stream, position, reason, detail, value, stored)
    SELECT g.*, %(stored)s
    FROM unnest(%(streams)s::text[], %(positions)s::bigint[], %(reasons)s::text[], %(details)s::text[],
        %(values)b::bytea[]) g
    ON CONFLICT (stream, position)
    DO UPDATE SET reason = excluded.reason, detail = excluded.detail, value = excluded.value, stored = excluded.stored
"""

# Lines that are there already were routed then. Returns how many deliveries are new, by sink, and their octets.
PUT = """
    WITH given AS (
        SELECT * FROM unnest(%(uids)s::text[], %(findings)s::text[], %(rules)s::text[], %(activities)s::int[],
            %(modes)s::text[], %(bodies)s::text[]) WITH ORDINALITY g (uid, finding, rule, activity, mode, body, number)
    ), put AS (
        INSERT INTO outbox (seq, line_uid, finding_uid, rule, activity, mode, stored, body)
        SELECT writer.lines - %(lines)s + number, uid, finding, rule, activity, mode, %(stored)s, body
        FROM given, writer
        ON CONFLICT (line_uid) DO NOTHING RETURNING seq, line_uid, octet_length(body) AS octets
    ), due AS (
        INSERT INTO deliveries (seq, sink, octets)
        SELECT put.seq, r.sink, put.octets FROM put JOIN unnest(%(routed)s::text[], %(sinks)s::text[]) r (uid, sink)
            ON r.uid = put.line_uid
        RETURNING sink, octets
    ), counted AS (
        INSERT INTO sink_totals AS t (sink, routed) SELECT sink, count(*) FROM due GROUP BY sink
        ON CONFLICT (sink) DO UPDATE SET routed = t.routed + excluded.routed
    )
    SELECT sink, count(*), sum(octets)::bigint FROM due GROUP BY sink
"""

WRITER = "SELECT epoch, token, commits FROM writer"
POSITIONS = "SELECT stream, next FROM offsets"
STATE = "SELECT kind, key, value FROM state ORDER BY written"
BACKLOG = "SELECT sink, count(*), sum(octets)::bigint FROM deliveries WHERE state = 0 GROUP BY sink"

PENDING = """
    SELECT seq, body, attempts FROM deliveries JOIN outbox USING (seq)
    WHERE sink = %(sink)s AND state = 0
        AND EXISTS (SELECT FROM writer WHERE epoch = %(epoch)s AND token = %(token)s AND expires > clock_timestamp())
    ORDER BY seq LIMIT %(limit)s
"""

_SETTLE = """
    WITH settled AS (
        UPDATE deliveries SET state = {state}, attempts = attempts + 1, error = coalesce(%(error)s, error)
        WHERE sink = %(sink)s AND seq = ANY(%(seqs)s) AND state = 0 RETURNING octets
    ), counted AS (
        INSERT INTO sink_totals AS t (sink, {column}) SELECT %(sink)s, count(*) FROM settled
        ON CONFLICT (sink) DO UPDATE SET {column} = t.{column} + excluded.{column}
    )
    SELECT count(*), coalesce(sum(octets), 0)::bigint FROM settled
"""
DELIVERED = _SETTLE.format(state=1, column="delivered")
DEAD = _SETTLE.format(state=2, column="dead")
FAILED = """
    UPDATE deliveries SET attempts = attempts + 1, error = %(error)s
    WHERE sink = %(sink)s AND seq = ANY(%(seqs)s) AND state = 0
"""

TOTALS = "SELECT sink, routed, delivered, dead, forgotten FROM sink_totals"
WAITING = """
    SELECT sink, waiting, octets, stored
    FROM (
        SELECT sink, count(*) AS waiting, sum(octets)::bigint AS octets, min(seq) AS seq
        FROM deliveries WHERE state = 0 GROUP BY sink
    ) w JOIN outbox USING (seq)
"""

# What an operator does beside a running instance, and so without a fence. NULL selects all.
_SELECTED = """
    (%(sink)s::text IS NULL OR d.sink = %(sink)s) AND (%(lines)s::text[] IS NULL OR o.line_uid = ANY(%(lines)s))
"""
OWED = f"""
    SELECT d.sink, d.state, o.line_uid, o.finding_uid, o.rule, o.body, o.stored, d.attempts, d.error
    FROM deliveries d JOIN outbox o USING (seq) WHERE d.state <> 1 AND {_SELECTED}
    ORDER BY d.sink COLLATE "C", d.seq LIMIT %(limit)s
"""  # noqa: S608  (text of ours)
RETRY = f"""
    WITH again AS (
        UPDATE deliveries d SET state = 0, attempts = 0, octets = octet_length(o.body) FROM outbox o
        WHERE o.seq = d.seq AND d.state = 2 AND {_SELECTED} RETURNING d.sink
    ), counted AS (
        UPDATE sink_totals t SET dead = dead - g.n FROM (SELECT sink, count(*) AS n FROM again GROUP BY sink) g
        WHERE t.sink = g.sink
    )
    SELECT count(*) FROM again
"""  # noqa: S608
LET_GO = f"""
    WITH gone AS (
        DELETE FROM deliveries d USING outbox o WHERE o.seq = d.seq AND d.state = 2 AND {_SELECTED} RETURNING d.sink
    ), counted AS (
        UPDATE sink_totals t SET dead = dead - g.n, forgotten = forgotten + g.n
        FROM (SELECT sink, count(*) AS n FROM gone GROUP BY sink) g WHERE t.sink = g.sink
    )
    SELECT count(*) FROM gone
"""  # noqa: S608

# In portions, so that nobody waits long for the lock on a row; by place, so that no join may choose to read it all.
PRUNE_LINES = """
    WITH gone AS (
        DELETE FROM outbox WHERE ctid = ANY(ARRAY(
            SELECT o.ctid FROM outbox o
            WHERE stored < %(before)s AND NOT EXISTS (SELECT FROM deliveries d WHERE d.seq = o.seq AND d.state <> 1)
            ORDER BY stored LIMIT %(portion)s
        )) RETURNING 1
    )
    SELECT count(*) FROM gone
"""
PRUNE_REJECTED = """
    WITH gone AS (
        DELETE FROM rejected WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM rejected WHERE stored < %(before)s ORDER BY stored LIMIT %(portion)s
        )) RETURNING 1
    )
    SELECT count(*) FROM gone
"""

# Election. Times are this database's own, so that instances' clocks do not matter.
COMPETE = """
    UPDATE writer SET epoch = epoch + 1, token = %(token)s, owner = %(owner)s, since = clock_timestamp(),
        expires = clock_timestamp() + %(lease)s, commits = 0
    WHERE expires <= clock_timestamp() OR token = %(before)s
    RETURNING epoch, extract(epoch FROM since)::float8
"""
RENEW = """
    UPDATE writer SET expires = clock_timestamp() + %(lease)s WHERE epoch = %(epoch)s AND token = %(token)s RETURNING 1
"""
RESIGN = "UPDATE writer SET expires = '-infinity' WHERE epoch = %(epoch)s AND token = %(token)s"
LOOK = """
    SELECT epoch, extract(epoch FROM since)::float8, owner, expires > clock_timestamp() FROM writer
"""
