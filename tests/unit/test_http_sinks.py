"""What each sink over HTTP makes of its receiver's own ways. Classes of plain failures: fault/test_matrix.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from standardwebhooks.webhooks import Webhook

from kmwatch.core.model import Activity, Severity
from kmwatch.ports import (
    ConfigurationError,
    PartialError,
    PermanentError,
    Sink,
    SplitError,
    TransientError,
)
from kmwatch.sinks.http import Answer, _retry_after
from kmwatch.sinks.webhook import signature, signing_key
from tests.servers.fakes import SECRET, TOKEN, FakeAlertmanager, FakeElastic, FakeHec, FakeReceiver, FakeWebhook
from tests.support import httpsinks
from tests.support.findings import beat, finding, hostile


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Callable[[FakeReceiver], Awaitable[None]]]:
    started: list[FakeReceiver] = []

    async def begin(receiver: FakeReceiver) -> None:
        started.append(receiver)
        await receiver.start()

    yield begin
    for receiver in started:
        await receiver.stop()


@pytest_asyncio.fixture
async def closing() -> AsyncIterator[Callable[[Sink], Sink]]:
    sinks: list[Sink] = []

    def note(sink: Sink) -> Sink:
        sinks.append(sink)
        return sink

    yield note
    for sink in sinks:
        await sink.close()


Starter = Callable[[FakeReceiver], Awaitable[None]]
Closer = Callable[[Sink], Sink]

# ---------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "Mon, 23 Nov 2026 10:01:00 GMT", "Date": "Mon, 23 Nov 2026 10:00:30 GMT"}, 30.0),
        ({"Retry-After": "Mon, 23 Nov 2026 10:01:00 GMT", "Date": "Mon, 23 Nov 2026 11:00:30 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-7"}, None),
        ({"Retry-After": "9" * 5000}, 999_999_999.0),
        ({}, None),
    ],
)
def test_a_wish_to_wait_is_seconds_or_a_date_by_the_receivers_clock(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert _retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, ConfigurationError), (302, ConfigurationError), (400, PermanentError), (401, ConfigurationError),
        (404, ConfigurationError), (405, ConfigurationError), (407, ConfigurationError), (408, TransientError),
        (410, ConfigurationError), (413, SplitError), (418, ConfigurationError), (422, PermanentError),
        (425, TransientError), (429, TransientError), (499, ConfigurationError), (500, TransientError),
        (502, TransientError), (504, TransientError), (599, TransientError),
    ],
)  # fmt: skip
async def test_only_what_speaks_of_the_finding_is_permanent_for_it(status: int, kind: type[Exception]) -> None:
    client = httpsinks.client("https://receiver.example:1")
    assert type(client.refusal(Answer(status, b"", None))) is kind
    await client.close()


async def test_an_answer_that_repeats_a_secret_or_drives_a_terminal_is_shown_without() -> None:
    client = httpsinks.client("https://u.example/secret-path?key=secret")
    shown = str(client.refusal(Answer(400, b"your password hunter2\x1b[2J is wrong", None)))
    assert shown == "https://u.example:443: HTTP 400 your password ***\\x1b[2J is wrong"
    await client.close()


# -------------------------------------------------------------------------------------------------------------- HEC


async def test_hec_what_stood_before_a_refused_event_is_not_sent_again(start: Starter, closing: Closer) -> None:
    splunk = FakeHec()
    splunk.poison = {"line-3"}
    await start(splunk)
    sink = closing(httpsinks.hec(splunk.url))
    with pytest.raises(PartialError) as caught:
        await sink.send([finding(number) for number in range(1, 6)])
    assert set(caught.value.refused) == {2}
    assert caught.value.again == {3, 4}
    assert caught.value.cause is None
    assert splunk.received == ["line-1", "line-2"]


@pytest.mark.parametrize(("index", "token"), [("nowhere", TOKEN), ("security", "wrong")])
async def test_hec_a_wrong_index_or_token_is_a_matter_of_configuration(
    start: Starter, closing: Closer, index: str, token: str
) -> None:
    splunk = FakeHec()
    await start(splunk)
    with pytest.raises(ConfigurationError, match="check token, index and ack"):
        await closing(httpsinks.hec(splunk.url, index=index, token=token)).send([finding()])
    assert splunk.received == []


async def test_hec_without_ack_for_a_token_that_wants_it_says_so(start: Starter, closing: Closer) -> None:
    splunk = FakeHec()
    await start(splunk)
    with pytest.raises(ConfigurationError, match="no indexer acknowledgement"):
        await closing(httpsinks.hec(splunk.url, ack=True)).send([finding()])


async def test_hec_nothing_is_sent_twice_while_the_indexers_take_their_time(start: Starter, closing: Closer) -> None:
    splunk = FakeHec(ack=True)
    splunk.polls_until_indexed = 10_000
    await start(splunk)
    sink = closing(httpsinks.hec(splunk.url, ack=True, ack_timeout=60.0, patience=0.2))
    for _ in range(2):
        with pytest.raises(PartialError) as caught:
            await sink.send([finding(1), finding(2)])
        assert isinstance(caught.value.cause, TransientError)
        assert caught.value.again == {0, 1}
    splunk.polls_until_indexed = 1
    await sink.send([finding(1), finding(2), finding(3)])
    assert splunk.received == ["line-1", "line-2", "line-3"]


async def test_hec_an_acknowledgement_whose_telling_is_lost_is_asked_for_in_vain_and_then_sent_again(
    start: Starter, closing: Closer
) -> None:
    splunk = FakeHec(ack=True)
    splunk.lose_telling = True
    await start(splunk)
    sink = closing(httpsinks.hec(splunk.url, ack=True, ack_timeout=0.5, patience=0.2))
    for _ in range(200):
        try:
            await sink.send([finding()])
            break
        except (TransientError, PartialError):
            await asyncio.sleep(0.01)
    assert splunk.received == ["line-1", "line-1"]  # at least once; Splunk de-duplicates nothing


async def test_hec_a_batch_too_large_for_one_request_is_to_be_split(start: Starter, closing: Closer) -> None:
    splunk = FakeHec()
    await start(splunk)
    sink = closing(httpsinks.hec(splunk.url))
    large = [finding(number, citations=400) for number in range(1, 5)]
    with pytest.raises(SplitError):
        await sink.send(large)
    assert splunk.requests == 0
    for one in large:
        await sink.send([one])
    assert len(splunk.received) == 4


# ------------------------------------------------------------------------------------------------------- OpenSearch


async def test_search_each_item_has_its_own_fate(start: Starter, closing: Closer) -> None:
    search = FakeElastic()
    search.poison, search.busy = {"line-2"}, {"line-4"}
    await start(search)
    sink = closing(httpsinks.opensearch(search.url))
    with pytest.raises(PartialError) as caught:
        await sink.send([finding(number) for number in range(1, 6)])
    assert set(caught.value.refused) == {1}
    assert "mapper_parsing_exception" in caught.value.refused[1]
    assert caught.value.again == {3}
    assert isinstance(caught.value.cause, TransientError)


async def test_search_a_repetition_is_a_success_and_no_second_document(start: Starter, closing: Closer) -> None:
    search = FakeElastic()
    await start(search)
    sink = closing(httpsinks.opensearch(search.url))
    for _ in range(2):
        await sink.send([finding(1), hostile(2)])
    assert search.received == ["line-1", "line-2"]


async def test_search_a_data_stream_that_is_not_there_sets_nothing_aside(start: Starter, closing: Closer) -> None:
    search = FakeElastic()
    await start(search)
    with pytest.raises(PartialError) as caught:
        await closing(httpsinks.opensearch(search.url, data_stream="elsewhere")).send([finding(1), finding(2)])
    assert isinstance(caught.value.cause, ConfigurationError)
    assert not caught.value.refused
    assert caught.value.again == {0, 1}


# ---------------------------------------------------------------------------------------------------------- webhook


async def test_a_webhooks_id_stays_and_its_signature_is_judged_by_the_standards_own_library(
    start: Starter, closing: Closer
) -> None:
    hook = FakeWebhook()  # verifies, and answers 500 to a wrong signature
    await start(hook)
    sink = closing(httpsinks.webhook(hook.url))
    hook.fault = "503"
    with pytest.raises(TransientError) as caught:
        await sink.send([hostile(1)])
    assert caught.value.retry_after == 7.0
    hook.fault = None
    await sink.send([hostile(1)])
    await sink.send([hostile(1)])
    assert hook.ids == ["line-1", "line-1"]


async def test_a_webhook_refuses_one_line_and_the_others_go_on(start: Starter, closing: Closer) -> None:
    hook = FakeWebhook()
    hook.poison = {"line-2"}
    await start(hook)
    sink = closing(httpsinks.webhook(hook.url))
    with pytest.raises(PartialError) as caught:
        await sink.send([finding(number) for number in range(1, 5)])
    assert (set(caught.value.refused), caught.value.again, caught.value.cause) == ({1}, frozenset(), None)
    with pytest.raises(PermanentError):
        await sink.send([finding(2)])


@pytest.mark.parametrize("status", ["301", "410"])
async def test_a_webhook_that_moved_or_wants_no_more_pauses_the_sink(
    start: Starter, closing: Closer, status: str
) -> None:
    hook = FakeWebhook()
    hook.fault = status
    await start(hook)
    with pytest.raises(ConfigurationError):
        await closing(httpsinks.webhook(hook.url)).send([finding(1), finding(2)])


@given(st.binary(), st.integers(0, 4_000_000_000))
def test_the_signature_is_the_one_that_the_standards_own_library_makes(body: bytes, timestamp: int) -> None:
    """Its `sign` takes text, so bodies are text here; it needs a datetime in UTC."""
    text = body.decode("latin-1")
    theirs = Webhook(SECRET).sign("line-1", datetime.fromtimestamp(timestamp, UTC), text)
    assert signature(signing_key(SECRET), "line-1", timestamp, text.encode()) == theirs


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "no base64", SECRET + SECRET])
def test_a_key_that_is_none_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64") as caught:
        signing_key(secret)
    assert not secret.removeprefix("whsec_") or secret not in str(caught.value)


# ----------------------------------------------------------------------------------------------------- Alertmanager


async def test_alertmanager_alerts_are_told_apart_by_rule_and_severity_only(start: Starter, closing: Closer) -> None:
    pager = FakeAlertmanager()
    await start(pager)
    sink = closing(httpsinks.alertmanager(pager.url))
    await sink.send([hostile(1), hostile(2, "other"), replace(finding(3), severity=Severity.LOW)])
    labels = [tuple(sorted(alert["labels"].items())) for alert in pager.alerts]
    assert len(set(labels)) == 2
    assert pager.alerts[0]["annotations"]["line"] == "line-1"


async def test_alertmanager_hears_of_no_close_and_no_heartbeat(start: Starter, closing: Closer) -> None:
    pager = FakeAlertmanager()
    await start(pager)
    sink = closing(httpsinks.alertmanager(pager.url))
    said = await sink.send([replace(finding(1), activity=Activity.CLOSE), beat()])
    assert said is not None
    assert pager.requests == 0
