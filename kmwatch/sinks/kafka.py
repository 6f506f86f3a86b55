"""Alerts to a Kafka topic, by an idempotent producer with acks=all.

Promise: at least once, and in order for each finding. The producer's idempotence covers its own repetitions; a batch
whose acknowledgement was lost is sent by a new producer and can stand in the topic twice, so readers de-duplicate by
the header `line` (the line's id).

The key is the entity that a finding speaks of: the declared caller, else the user, else the address, else what else it
is about. All lines of a finding have one key as long as they speak of one entity, so they stand in one partition.

A producer that has failed in any way is thrown away: after a refused record its sequence numbers have a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
)

from kmwatch.core.model import Finding
from kmwatch.kafka.trouble import diagnose, explained
from kmwatch.ports import ConfigurationError, PartialError, PermanentError, SplitError, TransientError
from kmwatch.wire.common import leading
from kmwatch.wire.formats import format_named, render_all

_MOST = 900_000  # octets of a value; brokers take a million unless told otherwise
_RECORD_BATCH = 16_384  # octets; a larger value has a record batch of its own
_REFUSED = (MessageSizeTooLargeError, RecordTooLargeError, RecordListTooLargeError, InvalidTimestampError)
_STOP = 3.0  # seconds to let go of brokers that do not answer

Security = Callable[[], Mapping[str, object]]


class KafkaSink:
    """See the module."""

    def __init__(
        self,
        name: str,
        bootstrap: Sequence[str],
        topic: str,
        *,
        security: Security = dict,
        format: str = "ocsf",  # noqa: A002 - the configuration's word
        timeout: float = 30.0,
    ) -> None:
        """Take the configured values; the first `send` connects.

        Args:
            name: of the sink.
            bootstrap: host:port of brokers.
            topic: must exist.
            security: makes aiokafka's security arguments for each connection; may raise OSError.
            format: of the values.
            timeout: seconds for the brokers to acknowledge a batch.
        """
        self.name = name
        self._bootstrap, self._topic, self._security = list(bootstrap), topic, security
        self._format, self._timeout = format_named(format), timeout
        self._producer: AIOKafkaProducer | None = None

    async def send(self, findings: Sequence[Finding]) -> str | None:
        """Deliver; see the module for what that means."""
        values = render_all(lambda finding: self._format.render(finding, _MOST), findings)
        producer = self._producer or await self._connect()
        try:
            async with asyncio.timeout(self._timeout):
                results = await self._produce(producer, findings, values)
        except TimeoutError:
            await self.close()
            raise TransientError(f"{self._where}: no acknowledgement within {self._timeout:g} s") from None
        except KafkaError as error:
            await self.close()
            raise self._error(error) from error
        except BaseException:
            await self.close()
            raise
        return await self._judge(results, values)

    async def close(self) -> None:
        """Let go of the brokers; never waits long for those that are away."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    @property
    def _where(self) -> str:
        return f"Kafka at {', '.join(self._bootstrap)}, topic {self._topic}"

    async def _connect(self) -> AIOKafkaProducer:
        try:
            security = self._security()
        except OSError as error:
            raise ConfigurationError(f"{self._where}: cannot load ca, cert or key: {error}") from error
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id="kmwatch",
            enable_idempotence=True,
            acks="all",
            compression_type="gzip",
            max_batch_size=_RECORD_BATCH,
            max_request_size=1 << 20,
            request_timeout_ms=int(self._timeout * 1000),
            **security,
        )
        try:
            async with asyncio.timeout(self._timeout):
                await producer.start()
                await producer.partitions_for(self._topic)
        except TimeoutError:
            await _stop(producer)
            raise TransientError(f"{self._where}: no answer within {self._timeout:g} s") from None
        except Exception as error:
            await _stop(producer)
            trouble = await diagnose(self._bootstrap, security, error)
            kind = ConfigurationError if trouble.is_standing else TransientError
            raise kind(f"{self._where}: {trouble.message}") from error
        except BaseException:
            await _stop(producer)
            raise
        self._producer = producer
        return producer

    async def _produce(
        self, producer: AIOKafkaProducer, findings: Sequence[Finding], values: Sequence[bytes]
    ) -> list[BaseException | None]:
        """What became of each; None for what the brokers have acknowledged."""
        waiting: list[asyncio.Future[object] | BaseException] = []
        for finding, value in zip(findings, values, strict=True):
            headers = [("line", finding.line_uid.encode("utf-8", "replace")), ("rule", finding.rule.encode())]
            try:
                waiting.append(await producer.send(self._topic, value, key=entity(finding), headers=headers))
            except _REFUSED as error:
                waiting.append(error)
        sent = [one for one in waiting if isinstance(one, asyncio.Future)]
        answers = iter(await asyncio.gather(*sent, return_exceptions=True))
        results: list[BaseException | None] = []
        for one in waiting:
            answer = one if isinstance(one, BaseException) else next(answers)
            results.append(answer if isinstance(answer, BaseException) else None)
        return results

    async def _judge(self, results: Sequence[BaseException | None], values: Sequence[bytes]) -> str:
        """A broker refuses whole record batches: that speaks of a value only where it was alone in its own."""
        failed = {n: error for n, error in enumerate(results) if error is not None}
        too_large = {n: f"{self._where}: {error}" for n, error in failed.items() if isinstance(error, _REFUSED)}
        refused = {n: text for n, text in too_large.items() if len(values[n]) > _RECORD_BATCH or len(values) == 1}
        if too_large.keys() - refused.keys():
            await self.close()
            raise SplitError(next(iter(too_large.values())))
        again = {n: error for n, error in failed.items() if n not in refused}
        if not refused and not again:
            return f"acknowledged by all in-sync replicas of {self._topic}"
        await self.close()
        if len(results) == 1 and refused:
            raise PermanentError(refused[0])
        cause = self._error(next(iter(again.values()))) if again else None
        raise PartialError(refused, again.keys(), cause)

    def _error(self, error: BaseException) -> TransientError | ConfigurationError:
        if isinstance(error, asyncio.CancelledError):
            raise error
        trouble = explained(error)
        kind = ConfigurationError if trouble.is_standing else TransientError
        return kind(f"{self._where}: {trouble.message}")


def entity(finding: Finding) -> bytes:
    """The key: who or what a finding speaks of."""
    request = leading(finding)
    named = (finding.caller, request.user_id if request else None, request.address if request else None)
    text = next((one for one in named if one), finding.subject or finding.uid)
    return text.encode("utf-8", "replace")


async def _stop(producer: AIOKafkaProducer) -> None:
    """In a task of its own: with its brokers away, aiokafka would wait for them."""
    leaving = asyncio.ensure_future(producer.stop())
    await asyncio.wait({leaving}, timeout=_STOP)
    if not leaving.done():
        leaving.cancel()
        sender = producer._sender  # noqa: SLF001 - what its own stop would have closed at last
        for close in (sender.close, producer.client.close):
            with suppress(Exception):
                async with asyncio.timeout(_STOP):
                    await close()
    await asyncio.gather(leaving, return_exceptions=True)
