"""What every sink over HTTP shares: one client with TLS, proxy and time-outs, and one reading of answers.

The class of a failure decides what becomes of a finding, so it errs towards losing nothing: only 400, 413 and 422 speak
of what we sent. Whatever else a receiver may say with 3xx or 4xx speaks of how it is set up, and pauses the sink.
"""

from __future__ import annotations

import gzip
import ssl
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import aiohttp

from kmwatch import __version__
from kmwatch.clock import SystemClock
from kmwatch.ports import ConfigurationError, PermanentError, SinkError, SplitError, TransientError
from kmwatch.sinks.tls import failure
from kmwatch.wire.escape import visible

_CONNECT_SECONDS = 10.0
_ANSWER_BYTES = 8 << 20  # of an answer are read; _bulk answers for each of a hundred items
_SHOWN = 300  # characters of an answer that are shown
_OK = range(200, 300)
_RECORD = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "; check the credentials",
    HTTPStatus.FORBIDDEN: "; check what these credentials may do",
    HTTPStatus.NOT_FOUND: "; check url",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "; check proxy",
}

Context = Callable[[], ssl.SSLContext]


class Answer(NamedTuple):
    """What a receiver answered."""

    status: int
    body: bytes
    retry_after: float | None  # seconds

    @property
    def is_ok(self) -> bool:
        """2xx."""
        return self.status in _OK


class HttpClient:
    """Requests to one receiver. A connection that failed is forgotten, certificates and all: the next reads them anew.

    Errors and answers name the receiver as scheme, host and port alone, since a URL may hold a secret.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        context: Context | None = None,
        proxy: str | None = None,
        timeout: float = 30.0,
        secrets: Sequence[str] = (),
    ) -> None:
        """Describe the client; the first request connects.

        Args:
            url: of the receiver.
            headers: of every request.
            context: makes what TLS needs; called at once, so that a bad file is told at the start.
            proxy: URL of an HTTP proxy, with its credentials if it wants any.
            timeout: seconds for a whole request, whatever it is that takes so long.
            secrets: never shown, should an answer repeat them.

        Raises:
            ConfigurationError: a certificate file cannot be used.
        """
        parts = urlsplit(url)
        self.peer = f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        self._headers = {"User-Agent": f"kmwatch/{__version__}", **(headers or {})}
        self._context = context if parts.scheme == "https" else None
        if self._context is not None:
            self._context()
        self._proxy, self._timeout = proxy, timeout
        self._secrets = [secret for secret in (*secrets, _password(proxy)) if secret]
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str] | None = None, *, compress: bool = False
    ) -> Answer:
        """POST, and read the answer.

        Args:
            url: where to.
            body: what to send.
            headers: of this request, beside those of all.
            compress: send it as gzip.

        Raises:
            TransientError: nobody answered in time, or at all.
            ConfigurationError: TLS or the proxy refuse us.
        """
        sent = dict(headers or {})
        if compress:
            body, sent["Content-Encoding"] = gzip.compress(body, 5), "gzip"
        try:
            session = self._session or self._open()
            async with session.post(url, data=body, headers=sent, proxy=self._proxy, allow_redirects=False) as answer:
                text = await answer.content.read(_ANSWER_BYTES)
                while len(text) < _ANSWER_BYTES and (more := await answer.content.read(_ANSWER_BYTES - len(text))):
                    text += more
                return Answer(answer.status, text, _retry_after(answer.headers))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            await self.close()
            raise self._failure(error) from error
        except BaseException:  # cancelled: what is half said on this connection must not be continued
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def refusal(self, answer: Answer) -> SinkError:
        """What an answer that is not 2xx means."""
        advice = _ADVICE.get(answer.status, "")
        if self._proxy is not None and answer.status == HTTPStatus.UNAUTHORIZED:
            advice += ", or check proxy: some proxies answer so in their own name"
        text = f"{self.peer}: {self.shown(answer)}{advice}"
        if answer.status in _LATER or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return TransientError(text, answer.retry_after)
        if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return SplitError(text)
        if answer.status in _RECORD:
            return PermanentError(text)
        return ConfigurationError(text)

    def shown(self, answer: Answer) -> str:
        """An answer for people: its status and the beginning of what it says."""
        text = answer.body[: 4 * _SHOWN].decode(errors="replace")
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return f"HTTP {answer.status} {visible(text.strip(), _SHOWN)}".rstrip()

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=True if self._context is None else self._context(), limit=16),
            # A balancer in front of indexers keeps to one of them by a cookie, be it called by address or name.
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=_CONNECT_SECONDS),
            headers=self._headers,
        )
        return self._session

    def _failure(self, error: Exception) -> SinkError:
        if isinstance(error, aiohttp.ClientHttpProxyError):
            kind = TransientError if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else ConfigurationError
            return kind(f"{self.peer}: the proxy answers HTTP {error.status}; check proxy")
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            return TransientError(f"{self.peer}: the proxy cannot be reached: {error.os_error.strerror or 'no answer'}")
        if isinstance(error, aiohttp.InvalidURL):
            return ConfigurationError(f"{self.peer}: is no URL that can be called; check url and proxy")
        return failure(self.peer, _cause(error))


def _password(url: str | None) -> str | None:
    """The password in a URL, as it is meant."""
    password = None if url is None else urlsplit(url).password
    return None if password is None else unquote(password)


def _cause(error: BaseException) -> BaseException:
    """The error of TLS within what aiohttp makes of it, or the error itself."""
    seen: BaseException | None = error
    for _ in range(4):
        if isinstance(seen, aiohttp.ClientConnectorCertificateError):
            seen = seen.certificate_error
        elif isinstance(seen, aiohttp.ClientConnectorError):  # some of its kinds are errors of TLS by name only
            seen = seen.os_error
        elif isinstance(seen, ssl.SSLError):
            return seen
        elif seen is not None:
            seen = seen.__cause__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return OSError(f"its name cannot be resolved: {error.os_error.strerror or error.os_error}")
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """RFC 9110 10.2.3: seconds, or a date, which is held against the receiver's own clock if it tells it."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    try:
        now = parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        now = SystemClock().now()
    return max(0.0, until - now)
