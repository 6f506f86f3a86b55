"""The configuration's `security` as aiokafka's arguments, for source and sink alike."""

from __future__ import annotations

import asyncio
import base64
import ssl
from pathlib import Path
from urllib.parse import quote_plus

import aiohttp
import msgspec
from aiokafka.abc import AbstractTokenProvider

from kmwatch.clock import SystemClock
from kmwatch.config.security import OAuth, Security

_TOKEN_SECONDS = 10.0  # the endpoint has to answer in
_YOUNG = 0.8  # part of a token's life in which it is used
_TOKEN_BYTES = 1 << 20


class TokenError(Exception):
    """There is no token to be had; the message is safe to show."""


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float = 60.0


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is untyped
    """Tokens for OAUTHBEARER: from a file that others renew, or granted by an endpoint and kept while young."""

    def __init__(self, given: OAuth) -> None:
        self._given = given
        self._token, self._until = "", 0.0
        self._clock = SystemClock()
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """A token that is valid now. Raises TokenError."""
        if self._given.token_file is not None:
            return await asyncio.to_thread(_read, self._given.token_file)
        async with self._lock:
            if self._clock.monotonic() >= self._until:
                granted = await self._granted()
                self._token = granted.access_token
                self._until = self._clock.monotonic() + _YOUNG * granted.expires_in
            return self._token

    async def _granted(self) -> _Granted:
        given = self._given
        if given.token_url is None or given.client_id is None or given.client_secret is None:
            raise TokenError("no token endpoint is configured")
        form = {"grant_type": "client_credentials"} | ({"scope": given.scope} if given.scope else {})
        pair = f"{quote_plus(given.client_id)}:{quote_plus(given.client_secret.get_secret_value())}"  # RFC 6749 2.3.1
        headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        context = tls_context(given.ca, None, None)
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TOKEN_SECONDS)) as session,
                session.post(given.token_url, data=form, headers=headers, ssl=context, allow_redirects=False) as answer,
            ):
                body = await answer.content.read(_TOKEN_BYTES)
                if answer.status != 200:  # noqa: PLR2004 - RFC 6749 5.1
                    why = f"answers HTTP {answer.status}; check client_id and client_secret"
                    raise TokenError(f"the token endpoint {why}")
                return msgspec.json.decode(body, type=_Granted)
        except msgspec.MsgspecError:
            raise TokenError("the token endpoint gives no access_token") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TokenError(f"the token endpoint cannot be reached: {str(error) or type(error).__name__}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no token"
        raise TokenError(f"{path}: {why}") from error


def tls_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or newer that checks the server's certificate. Raises OSError, of which ssl.SSLError is one."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None:
        context.load_cert_chain(cert, key, password="")
    return context


def arguments(given: Security) -> dict[str, object]:
    """Aiokafka's arguments. Reads certificates anew; needs a running loop for OAUTHBEARER.

    Raises:
        OSError: ca, cert or key cannot be used.
    """
    out: dict[str, object] = {"security_protocol": given.protocol.upper()}
    if given.mechanism is not None:
        out["sasl_mechanism"] = given.mechanism
    if given.password is not None:
        out["sasl_plain_username"] = given.username
        out["sasl_plain_password"] = given.password.get_secret_value()
    if given.oauth is not None:
        out["sasl_oauth_token_provider"] = TokenProvider(given.oauth)
    if given.protocol in ("ssl", "sasl_ssl"):
        context = tls_context(given.ca, given.cert, given.key)
        context.check_hostname = given.check_hostname
        out["ssl_context"] = context
    return out
