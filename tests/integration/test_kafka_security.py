"""Kafka as its users secure it, against the real broker.

Every way in, with no more ACLs than are needed; every refusal in words of its own that say what to do.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from kmwatch.clock import SystemClock
from kmwatch.config.security import Security
from kmwatch.kafka.security import arguments
from kmwatch.ports import ConfigurationError, SourceError, TransientError
from kmwatch.sinks.kafka import KafkaSink
from kmwatch.sources.kafka import KafkaSource
from tests.servers.kafka_secure import (
    DESCRIBE,
    GROUP,
    GUEST,
    PASSWORD,
    READ,
    TOPIC,
    USER,
    WRITE,
    SecureKafka,
    TokenEndpoint,
    token,
)
from tests.support.daemon import Daemon, configuration, file_sink, kafka_source
from tests.support.findings import finding

WAYS = ("mutual TLS", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "OAUTHBEARER by file")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with SecureKafka(tmp_path_factory.mktemp("secure-kafka")) as server:
        yield server


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    made = TokenEndpoint()
    await made.start()
    yield made
    await made.stop()


def security(way: str, broker: SecureKafka, endpoint: TokenEndpoint, folder: Path) -> tuple[str, Security]:
    """Where to go, and how."""
    match way:
        case "mutual TLS":
            cert, key = broker.certificate(USER)
            given: dict[str, object] = {"protocol": "ssl", "cert": str(cert), "key": str(key)}
            return broker.mutual_bootstrap, broker.security(**given)
        case "OAUTHBEARER":
            oauth = {"token_url": endpoint.url, "client_id": "kmwatch", "client_secret": "s3cret", "scope": "kafka"}
            return broker.secure_bootstrap, broker.security(mechanism=way, oauth=oauth)
        case "OAUTHBEARER by file":
            (folder / "token").write_text(token(USER))
            return broker.secure_bootstrap, broker.security(
                mechanism="OAUTHBEARER", oauth={"token_file": str(folder / "token")}
            )
        case _:
            return broker.secure_bootstrap, broker.security(mechanism=way, username=USER, password=PASSWORD)


def source(bootstrap: str, given: Security, topic: str, group: str) -> KafkaSource:
    return KafkaSource(
        bootstrap=[bootstrap],
        topics=[topic],
        group=group,
        start="earliest",
        clock=SystemClock(),
        security=arguments(given),
    )


@asynccontextmanager
async def reading(bootstrap: str, given: Security, topic: str, group: str) -> AsyncIterator[KafkaSource]:
    made = source(bootstrap, given, topic, group)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def writing(bootstrap: str, given: Security, topic: str) -> AsyncIterator[KafkaSink]:
    made = KafkaSink("bus", [bootstrap], topic, security=lambda: arguments(given), timeout=10)
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_in_works_with_the_least_of_permissions(
    way: str, broker: SecureKafka, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    topic = await broker.create_topic()
    group = f"{topic}-readers"
    bootstrap, given = security(way, broker, endpoint, tmp_path)
    await broker.allow(WRITE, TOPIC, topic)
    async with writing(bootstrap, given, topic) as sink:
        said = await sink.send([finding(1), finding(2)])
        assert said is not None
    await broker.allow(READ, TOPIC, topic)
    await broker.allow(READ, GROUP, group)
    async with reading(bootstrap, given, topic, group) as records:
        assert await records.assigned() == [f"{topic}/0"]
        await records.seek({})
        values: list[bytes] = []
        while len(values) < 2:
            values += [record.value for record in (await records.read({})).records]
    assert [json.loads(value)["metadata"]["uid"] for value in values] == ["line-1", "line-2"]
    if way == "OAUTHBEARER":
        assert endpoint.granted >= 1


# What is refused, and in which words


def scram(broker: SecureKafka, **more: object) -> Security:
    return broker.security(**({"mechanism": "SCRAM-SHA-512", "username": USER, "password": PASSWORD} | more))


REFUSALS: dict[str, tuple[str, Callable[[SecureKafka], Security], str]] = {
    "a wrong password": ("secure", lambda b: scram(b, password="wrong"), "refuses these credentials"),
    "a wrong password for PLAIN": (
        "secure",
        lambda b: scram(b, mechanism="PLAIN", password="wrong"),
        "refuses these credentials",
    ),
    "an unknown user": ("secure", lambda b: scram(b, username="nobody"), "refuses these credentials"),
    "a broker of an unknown authority": (
        "secure",
        lambda b: scram(b, ca=str(b.foreign_ca)),
        "its certificate is refused: .*; check security.ca",
    ),
    "no client certificate": ("mutual", lambda b: b.security(protocol="ssl"), "TLS is refused"),
    "TLS to a port without it": ("plain", lambda b: b.security(protocol="ssl"), "does this port speak ssl"),
    "no TLS to a port with it": ("secure", lambda _: Security(), "does this port speak plaintext"),
    "a token that is none": (
        "secure",
        lambda b: b.security(mechanism="OAUTHBEARER", oauth={"token_file": "/dev/null"}),
        "refuses these credentials|OAUTHBEARER",
    ),
    "no permission on the topic": (
        "secure",
        lambda b: scram(b, mechanism="PLAIN", username=GUEST),
        "an ACL is missing",
    ),
}


def where(broker: SecureKafka, listener: str) -> str:
    return {"secure": broker.secure_bootstrap, "mutual": broker.mutual_bootstrap, "plain": broker.bootstrap}[listener]


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_source_says_in_its_own_words_what_is_refused(case: str, broker: SecureKafka) -> None:
    listener, made, words = REFUSALS[case]
    topic = await broker.create_topic()
    async with reading(where(broker, listener), made(broker), topic, "readers") as records:
        with pytest.raises(SourceError, match=words) as caught:
            await asyncio.wait_for(records.assigned(), 60)
    assert PASSWORD not in str(caught.value)
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_sink_says_in_its_own_words_what_is_refused_and_pauses(case: str, broker: SecureKafka) -> None:
    listener, made, words = REFUSALS[case]
    topic = await broker.create_topic()
    kind = TransientError if "to a port" in case else ConfigurationError
    async with writing(where(broker, listener), made(broker), topic) as sink:
        with pytest.raises(kind, match=words) as caught:
            await sink.send([finding()])
    assert PASSWORD not in str(caught.value)


async def test_a_topic_that_may_be_seen_and_not_written_is_a_missing_acl(broker: SecureKafka) -> None:
    topic = await broker.create_topic()
    await broker.allow(DESCRIBE, TOPIC, topic)
    async with writing(broker.secure_bootstrap, scram(broker), topic) as sink:
        with pytest.raises(Exception, match="an ACL is missing") as caught:
            await sink.send([finding()])
    assert isinstance(getattr(caught.value, "cause", caught.value), ConfigurationError)


async def test_a_topic_that_may_be_seen_and_not_read_is_a_missing_acl(broker: SecureKafka) -> None:
    topic = await broker.create_topic()
    group = f"{topic}-readers"
    await broker.produce(topic, 0, [b"x"])
    await broker.allow(DESCRIBE, TOPIC, topic)
    await broker.allow(READ, GROUP, group)
    async with reading(broker.secure_bootstrap, scram(broker), topic, group) as records:
        await records.assigned()
        with pytest.raises(SourceError, match=r"an ACL is missing.*needs Read on the topics"):
            await _read_on(records)


async def _read_on(records: KafkaSource) -> None:
    await records.seek({})
    while True:
        await records.read({})


async def test_a_group_that_may_not_be_joined_is_a_missing_acl(broker: SecureKafka) -> None:
    topic = await broker.create_topic()
    await broker.allow(READ, TOPIC, topic)
    async with reading(broker.secure_bootstrap, scram(broker), topic, "forbidden") as records:
        with pytest.raises(SourceError, match=r"may not use the group.*on the group forbidden"):
            await asyncio.wait_for(records.assigned(), 60)


async def test_a_topic_that_does_not_exist_pauses_the_sink(broker: SecureKafka) -> None:
    topic = "never-made"
    await broker.allow(WRITE, TOPIC, topic)
    async with writing(broker.secure_bootstrap, scram(broker), topic) as sink:
        with pytest.raises((ConfigurationError, TransientError), match=r"does not exist|no answer"):
            await sink.send([finding()])


async def test_a_token_endpoint_that_refuses_is_named_as_such(broker: SecureKafka, endpoint: TokenEndpoint) -> None:
    topic = await broker.create_topic()
    oauth = {"token_url": endpoint.url, "client_id": "kmwatch", "client_secret": "not-it"}
    given = broker.security(mechanism="OAUTHBEARER", oauth=oauth)
    async with writing(broker.secure_bootstrap, given, topic) as sink:
        with pytest.raises(ConfigurationError, match="token endpoint answers HTTP 401; check client_id") as caught:
            await sink.send([finding()])
    assert "not-it" not in str(caught.value)


# Credentials that change while the daemon reads


async def test_a_reload_takes_new_credentials_for_a_source_and_keeps_the_old_where_the_broker_refuses_them(
    broker: SecureKafka, tmp_path: Path
) -> None:
    topic, user, secret = await broker.create_topic(), "rotating", tmp_path / "password"
    first, wrong, second = "first-of-two", "never-valid", "second-of-two"
    broker.set_password(user, first)
    await broker.allow(READ, TOPIC, topic, user)
    await broker.allow(READ, GROUP, f"{topic}-readers", user)
    login = {"protocol": "sasl_ssl", "mechanism": "SCRAM-SHA-512", "username": user, "ca": str(broker.ca)}
    login["password"] = f"file:{secret}"
    source = kafka_source(broker.secure_bootstrap, topic, security=login)
    secret.write_text(first)
    with Daemon(tmp_path, configuration(tmp_path, source, [file_sink(tmp_path)])) as daemon:

        async def reads_on(total: int) -> None:
            await broker.produce(topic, 0, [b"no record of ours"])
            await asyncio.to_thread(daemon.wait_until, lambda s: s.account.records.consumed == total, "it reads on")

        async def hangup(event: str) -> str:
            daemon.send(signal.SIGHUP)
            await asyncio.to_thread(daemon.wait_for_log, event)
            return next(line for line in daemon.output().splitlines() if f'"{event}"' in line)

        daemon.start()
        await asyncio.to_thread(daemon.wait_until_ready)
        await reads_on(1)

        secret.write_text(wrong)
        said = await hangup("reload_failed")
        assert "sources.kafka" in said
        assert "refuses these credentials" in said
        assert daemon.metrics()["kmwatch_config_last_reload_success"] == 0
        await reads_on(2)

        broker.set_password(user, second)
        secret.write_text(second)
        said = await hangup("reloaded")
        assert '"logins": 1' in said
        assert '"need_a_restart": []' in said
        await asyncio.to_thread(broker.restart)  # every connection is a new one, and the first password is void
        await reads_on(3)
        assert daemon.terminate() == 0
        text = daemon.output()
    assert not any(password in text for password in (first, wrong, second))
