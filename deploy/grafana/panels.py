"""What the two dashboards show: each panel's question, its expressions, and the runbook that says what to do.

Data only; `dashboards.py` makes Grafana's JSON of it, tests/operate holds every expression against a real run.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["stat", "lines", "bars", "table"]


class Query(NamedTuple):
    """One expression and what its series are called."""

    expr: str
    legend: str = ""


class Word(NamedTuple):
    """What a value of a stat means."""

    value: int
    text: str
    colour: str


class Panel(NamedTuple):
    """One panel.

    `span` is of 24 columns. `alarm` is the value from which on a stat is red; with `words`, for values that are no
    amounts, each value has its own text and colour. `columns` names a table's, in order; those left out are hidden.
    `empty` is what stands where there is nothing to show: often the best news.
    """

    title: str
    about: str
    kind: Kind
    queries: tuple[Query, ...]
    runbook: str
    unit: str = "short"
    span: int = 8
    height: int | None = None
    alarm: float | None = None
    words: tuple[Word, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    empty: str = "none in this time"


class Row(NamedTuple):
    """A titled row of panels."""

    title: str
    panels: tuple[Panel, ...]


class Board(NamedTuple):
    """A dashboard."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]


_SENT = 'kmwatch_findings_total{mode="enforce"}'
_UNEXPLAINED = 'kmwatch_retrievals_total{verdict="unexplained"}'

SOC = Board(
    "kmwatch-soc",
    "kmwatch: who reads the secrets",
    "For the people who answer alerts: reads nobody declared, findings, and whether the witnesses can be trusted.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Unexplained reads",
                    "Payload reads in this time range that no declaration explains.",
                    "stat",
                    (Query(f"sum(increase({_UNEXPLAINED}[$__range]))"),),
                    "KMW-001",
                    span=4,
                    alarm=1,
                ),
                Panel(
                    "Critical findings",
                    "Findings of severity critical in this time range.",
                    "stat",
                    (Query('sum(increase(kmwatch_findings_total{mode="enforce", severity="critical"}[$__range]))'),),
                    "KmwatchCriticalFinding",
                    span=4,
                    alarm=1,
                ),
                Panel(
                    "Findings",
                    "All findings that were sent.",
                    "stat",
                    (Query(f"sum(increase({_SENT}[$__range]))"),),
                    "README",
                    span=4,
                ),
                Panel(
                    "Suppressed hits",
                    "Hits that an open finding took in without a line of their own.",
                    "stat",
                    (Query("sum(increase(kmwatch_suppressed_total[$__range]))"),),
                    "README",
                    span=4,
                ),
                Panel(
                    "Shadow and silenced",
                    "Findings of rules on trial, and hits that a silence keeps back: computed, sent to nobody.",
                    "stat",
                    (
                        Query('sum(increase(kmwatch_findings_total{mode="shadow"}[$__range])) or vector(0)', "shadow"),
                        Query("sum(increase(kmwatch_silenced_total[$__range]))", "silenced"),
                    ),
                    "README",
                    span=4,
                ),
                Panel(
                    "Time to alert, 99 %",
                    "From the event to its acknowledgement by a sink. Of a replayed recording: its age.",
                    "stat",
                    (
                        Query(
                            "histogram_quantile(0.99, sum by (le) (rate(kmwatch_detection_seconds_bucket[$__range])))"
                        ),
                    ),
                    "KmwatchAlertsLate",
                    unit="s",
                    span=4,
                    alarm=120,
                ),
            ),
        ),
        Row(
            "Reads",
            (
                Panel(
                    "Unexplained reads by reason",
                    "Why no declaration explains them: the field of the nearest one that failed.",
                    "bars",
                    (Query(f"sum by (reason) (increase({_UNEXPLAINED}[$__interval])) > 0", "{{reason}}"),),
                    "KMW-001",
                ),
                Panel(
                    "Reads by declared caller",
                    "All payload reads by the declared name of who reads; `undeclared` is nobody you know.",
                    "bars",
                    (Query("sum by (caller) (increase(kmwatch_retrievals_total[$__interval])) > 0", "{{caller}}"),),
                    "KMW-001",
                ),
                Panel(
                    "Reads that cannot be judged",
                    "The evidence does not decide: inventory or identities are out of date.",
                    "bars",
                    (
                        Query(
                            'sum by (reason) (increase(kmwatch_retrievals_total{verdict="undecided"}'
                            "[$__interval])) > 0",
                            "{{reason}}",
                        ),
                    ),
                    "KmwatchReadsUndecided",
                    empty="none: every read could be judged",
                ),
            ),
        ),
        Row(
            "Findings",
            (
                Panel(
                    "Findings by severity",
                    "New findings over time.",
                    "bars",
                    (Query(f"sum by (severity) (increase({_SENT}[$__interval])) > 0", "{{severity}}"),),
                    "README",
                    height=12,
                ),
                Panel(
                    "Findings by detection",
                    "In this time range, most first.",
                    "table",
                    (Query(f"sort_desc(sum by (rule, severity) (increase({_SENT}[$__range])) > 0)"),),
                    "README",
                    columns=(("rule", "Detection"), ("severity", "Severity"), ("Value", "Findings")),
                    height=12,
                ),
                Panel(
                    "Failed access",
                    "Requests that the Key Manager refused or could not answer, by what was tried.",
                    "bars",
                    (
                        Query(
                            'sum by (kind) (increase(kmwatch_events_total{outcome="failure"}[$__interval])) > 0',
                            "{{kind}}",
                        ),
                    ),
                    "KMW-013",
                    height=12,
                ),
            ),
        ),
        Row(
            "Can it be trusted?",
            (
                Panel(
                    "Witnesses: last record",
                    "Age of the latest record of each log. A silent one hides what only it can tell.",
                    "lines",
                    (Query("time() - max by (witness) (kmwatch_witness_last_seen_seconds)", "{{witness}}"),),
                    "KmwatchWitnessSilent",
                    unit="s",
                ),
                Panel(
                    "Requests without an answer",
                    "The audit trail shows their beginning and never their end.",
                    "bars",
                    (Query("sum(increase(kmwatch_audit_gap_total[$__interval]))", "gaps"),),
                    "KmwatchAuditGap",
                ),
                Panel(
                    "Alerts on their way",
                    "Lines that wait for each sink: what you do not see yet.",
                    "lines",
                    (Query("max by (sink) (kmwatch_outbox_pending)", "{{sink}}"),),
                    "KmwatchSinkStuck",
                ),
            ),
        ),
    ),
)

OPERATOR = Board(
    "kmwatch-operator",
    "kmwatch: the daemon",
    "For the people who run it: is it reading, is it keeping up, do alerts arrive, does the account balance.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Instances that read",
                    "Exactly one should; and the epoch of its claim, which grows with each take-over.",
                    "stat",
                    (Query("sum(kmwatch_active)", "reading"), Query("max(kmwatch_epoch)", "epoch")),
                    "KmwatchNoActiveInstance",
                    span=4,
                ),
                Panel(
                    "Release",
                    "Which releases run.",
                    "table",
                    (Query("count by (version) (kmwatch_build_info)"),),
                    "KmwatchVersionsDiffer",
                    columns=(("version", "Release"), ("Value", "Instances")),
                    height=4,
                    span=4,
                ),
                Panel(
                    "Records behind",
                    "Between kmwatch and the end of the topics.",
                    "stat",
                    (Query("sum(kmwatch_lag_records) or vector(0)"),),
                    "KmwatchLagging",
                    span=4,
                    alarm=50000,
                ),
                Panel(
                    "Records rejected",
                    "In no form that is known, in this time range.",
                    "stat",
                    (Query('sum(increase(kmwatch_records_total{outcome=~"rejected_.*"}[$__range])) or vector(0)'),),
                    "KmwatchRecordsRejected",
                    span=4,
                    alarm=1,
                ),
                Panel(
                    "Records lost",
                    "Before kmwatch could read them, as --accept-gap accepted.",
                    "stat",
                    (Query("sum(kmwatch_records_missing_total)"),),
                    "KmwatchRecordsMissing",
                    span=4,
                    alarm=1,
                ),
                Panel(
                    "Last reload",
                    "Whether the configuration on disk is the one that runs.",
                    "stat",
                    (Query("min(kmwatch_config_last_reload_success)"),),
                    "KmwatchReloadFailed",
                    words=(Word(1, "fine", "green"), Word(0, "failed", "red")),
                    span=4,
                ),
            ),
        ),
        Row(
            "Reading",
            (
                Panel(
                    "Records by outcome",
                    "The account: what became of every record.",
                    "lines",
                    (Query("sum by (outcome) (rate(kmwatch_records_total[$__rate_interval])) > 0", "{{outcome}}"),),
                    "KmwatchRecordsRejected",
                    unit="suffix:/s",
                ),
                Panel(
                    "Records by form",
                    "Which witness they are of.",
                    "lines",
                    (Query("sum by (form) (rate(kmwatch_records_total[$__rate_interval])) > 0", "{{form}}"),),
                    "KmwatchWitnessSilent",
                    unit="suffix:/s",
                ),
                Panel(
                    "Lag by partition",
                    "One that stands still while others move has a broken producer or broker.",
                    "lines",
                    (Query("max by (topic, partition) (kmwatch_lag_records)", "{{topic}}/{{partition}}"),),
                    "KmwatchLagging",
                    empty="no partitions: it reads files, or stands by",
                ),
            ),
        ),
        Row(
            "Join",
            (
                Panel(
                    "Requests that wait",
                    "For more of their records; bounded by limits.open_joins.",
                    "lines",
                    (Query("max by (instance) (kmwatch_joins_open)", "{{instance}}"),),
                    "KmwatchStateEvicted",
                ),
                Panel(
                    "What became of records in the join",
                    "`timed_out`: requests that were told of incompletely.",
                    "lines",
                    (Query("sum by (result) (rate(kmwatch_join_total[$__rate_interval])) > 0", "{{result}}"),),
                    "KmwatchAuditGap",
                    unit="suffix:/s",
                ),
                Panel(
                    "Evicted",
                    "Analytic state that had to make room.",
                    "bars",
                    (Query("sum by (kind) (increase(kmwatch_state_evicted_total[$__interval])) > 0", "{{kind}}"),),
                    "KmwatchStateEvicted",
                ),
            ),
        ),
        Row(
            "Delivery",
            (
                Panel(
                    "Outbox by sink",
                    "Lines that wait, and dead ones that wait for an operator.",
                    "lines",
                    (
                        Query("max by (sink) (kmwatch_outbox_pending)", "{{sink}}"),
                        Query("max by (sink) (kmwatch_outbox_dead) > 0", "{{sink}} dead"),
                    ),
                    "KmwatchSinkStuck",
                    span=6,
                ),
                Panel(
                    "Outbox in octets",
                    "Bounded by limits.outbox_bytes.",
                    "lines",
                    (Query("max by (sink) (kmwatch_outbox_pending_bytes)", "{{sink}}"),),
                    "KmwatchSinkStuck",
                    unit="bytes",
                    span=6,
                ),
                Panel(
                    "Oldest line by sink",
                    "How long it has waited.",
                    "lines",
                    (Query("max by (sink) (kmwatch_outbox_oldest_seconds)", "{{sink}}"),),
                    "KmwatchSinkStuck",
                    unit="s",
                    span=6,
                ),
                Panel(
                    "Deliveries",
                    "Lines delivered, and failed attempts by their kind; lines set aside for good.",
                    "lines",
                    (
                        Query(
                            "sum by (sink, outcome) (rate(kmwatch_deliveries_total[$__rate_interval])) > 0",
                            "{{sink}} {{outcome}}",
                        ),
                        Query(
                            "sum by (sink) (rate(kmwatch_dead_letters_total[$__rate_interval])) > 0",
                            "{{sink}} dead",
                        ),
                    ),
                    "KmwatchSinkRefuses",
                    unit="suffix:/s",
                    span=6,
                ),
            ),
        ),
        Row(
            "Inventory",
            (
                Panel(
                    "Secrets known",
                    "Of the inventory, deleted ones too. One that stops growing is read no more.",
                    "lines",
                    (Query("max(kmwatch_inventory_secrets)", "secrets"),),
                    "KmwatchReadsUndecided",
                ),
                Panel(
                    "Readings of the inventory",
                    "While the daemon runs; a failed one leaves the inventory as it was.",
                    "bars",
                    (
                        Query(
                            "sum by (outcome) (increase(kmwatch_inventory_readings_total[$__interval])) > 0",
                            "{{outcome}}",
                        ),
                    ),
                    "KmwatchReadsUndecided",
                ),
                Panel(
                    "Reads that wait for the inventory",
                    "Of secrets that it does not know yet.",
                    "lines",
                    (Query("max(kmwatch_events_parked)", "reads"),),
                    "KmwatchReadsUndecided",
                ),
            ),
        ),
        Row(
            "Process",
            (
                Panel(
                    "CPU",
                    "Of one core.",
                    "lines",
                    (
                        Query(
                            "rate(process_cpu_seconds_total[$__rate_interval])"
                            " and on (instance, job) kmwatch_build_info",
                            "{{instance}}",
                        ),
                    ),
                    "KmwatchLagging",
                    unit="percentunit",
                    span=6,
                ),
                Panel(
                    "Memory",
                    "Resident.",
                    "lines",
                    (Query("process_resident_memory_bytes and on (instance, job) kmwatch_build_info", "{{instance}}"),),
                    "KmwatchStateEvicted",
                    unit="bytes",
                    span=6,
                ),
                Panel(
                    "File descriptors",
                    "Open, of those permitted.",
                    "lines",
                    (
                        Query(
                            "process_open_fds / process_max_fds and on (instance, job) kmwatch_build_info",
                            "{{instance}}",
                        ),
                    ),
                    "KmwatchFileDescriptorsLow",
                    unit="percentunit",
                    span=6,
                ),
                Panel(
                    "Store failures, restarts",
                    "Commits that failed and were tried again; starts of the process.",
                    "bars",
                    (
                        Query("sum(increase(kmwatch_store_failures_total[$__interval]))", "store failures"),
                        Query(
                            "sum(changes(process_start_time_seconds[$__interval])"
                            " and on (instance, job) kmwatch_build_info)",
                            "restarts",
                        ),
                    ),
                    "KmwatchStoreFails",
                    span=6,
                ),
            ),
        ),
    ),
)

BOARDS = (SOC, OPERATOR)
