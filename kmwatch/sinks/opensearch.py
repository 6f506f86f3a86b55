"""Alerts into a data stream of OpenSearch or Elasticsearch, by `_bulk`.

Promise: effectively once within one backing index. The line's id is the document's `_id` and the operation is `create`,
which is all that a data stream allows: a repetition answers 409, and that is a success. After a rollover a repetition
can make a second document with the same `_id`.

The answer is 200 even where every item failed, so each item is looked at. An item is sent again on 429 and 5xx. It is
dead on what speaks of the document (400 mapper_parsing_exception and the like). What speaks of the set-up (no such
index, no permission, an index that does not take `create`) pauses the sink: dead-lettering everything that comes until
somebody has made the data stream would lose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote

import msgspec

from kmwatch.core.model import Finding
from kmwatch.ports import ConfigurationError, PartialError, SplitError, TransientError
from kmwatch.sinks.http import Answer, HttpClient
from kmwatch.wire.common import iso
from kmwatch.wire.escape import visible
from kmwatch.wire.formats import format_named, render_all

_MOST = 8 << 20  # octets of a request before compression; both take 100 MB and advise 5 to 15
_DOCUMENT = 4 << 20
_FILTER = "filter_path=errors,items.*.status,items.*.error"
_REASON = 300  # characters
_SETUP = frozenset(
    {
        "index_not_found_exception",
        "index_closed_exception",
        "invalid_index_name_exception",
        "security_exception",
        "cluster_block_exception",
        "authorization_exception",
        "invalid_alias_name_exception",
    }
)


class _Error(msgspec.Struct):
    type: str = ""
    reason: str = ""


class _Result(msgspec.Struct):
    status: int
    error: _Error | None = None


class _Item(msgspec.Struct):
    create: _Result


class _Bulk(msgspec.Struct):
    items: list[_Item]
    errors: bool = True


class OpenSearchSink:
    """See the module."""

    def __init__(
        self,
        name: str,
        client: HttpClient,
        url: str,
        data_stream: str,
        *,
        format: str = "ecs",  # noqa: A002 - the configuration's word
    ) -> None:
        """Take the configured values.

        Args:
            name: of the sink.
            client: with credentials in its headers.
            url: of the cluster.
            data_stream: made by an index template of the operator's.
            format: ocsf or ecs.

        Raises:
            ValueError: the format is no JSON.
        """
        self.name = name
        self._client, self._format = client, format_named(format)
        if not self._format.is_json:
            raise ValueError(f"format {format} is no JSON")
        self._url = (
            f"{url.rstrip('/')}/{quote(data_stream, safe='')}/_bulk?filter_path=errors,items.*.status,items.*.error"
        )

    async def send(self, findings: Sequence[Finding]) -> str | None:
        """Deliver; see the module for what that means."""
        if not findings:
            return None
        body = b"".join(render_all(self._pair, findings))
        if len(body) > _MOST and len(findings) > 1:
            raise SplitError(f"{self._client.peer}: {len(body)} octets are more than {_MOST} in a request")
        headers = {"Content-Type": "application/x-ndjson"}
        answer = await self._client.post(self._url, body, headers, compress=True)
        if not answer.is_ok:
            raise self._client.refusal(answer)
        self._judge(answer, len(findings))
        return self._client.shown(answer)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._client.close()

    def _pair(self, finding: Finding) -> bytes:
        document = self._format.render(finding, _DOCUMENT)
        if self._format.name != "ecs":  # a data stream needs it
            document = b'{"@timestamp":' + msgspec.json.encode(iso(finding.time)) + b"," + document[1:]
        action = msgspec.json.encode({"create": {"_id": finding.line_uid}})
        return action + b"\n" + document + b"\n"

    def _judge(self, answer: Answer, sent: int) -> None:
        """Raise what became of the items, unless all were accepted."""
        try:
            bulk = msgspec.json.decode(answer.body, type=_Bulk)
        except msgspec.MsgspecError:
            raise TransientError(f"{self._client.peer}: is no _bulk answer: {self._client.shown(answer)}") from None
        if len(bulk.items) != sent:
            raise TransientError(f"{self._client.peer}: answers for {len(bulk.items)} of {sent} items")
        refused: dict[int, str] = {}
        again: list[int] = []
        cause: TransientError | ConfigurationError | None = None
        for place, item in enumerate(bulk.items):
            result = item.create
            if result.status in range(200, 300) or result.status == HTTPStatus.CONFLICT:
                continue
            text = f"{self._client.peer}: {_said(result)}"
            if _is_setup(result):
                again.append(place)
                cause = ConfigurationError(f"{text}; check data_stream, its index template and permissions")
            elif result.status == HTTPStatus.TOO_MANY_REQUESTS or result.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                again.append(place)
                cause = cause or TransientError(text, answer.retry_after)
            else:
                refused[place] = text
        if refused or again:
            raise PartialError(refused, again, cause)


def _is_setup(result: _Result) -> bool:
    if result.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return True
    if result.error is None or result.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return False
    if result.status == HTTPStatus.TOO_MANY_REQUESTS:  # a disk above its flood stage: space comes back by itself
        return False
    return result.error.type in _SETUP


def _said(result: _Result) -> str:
    error = result.error or _Error()
    return f"item HTTP {result.status} {visible(f'{error.type}: {error.reason}', _REASON)}"
