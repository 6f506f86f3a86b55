"""What is wrong with a connection to Kafka, in words that say what to do.

aiokafka answers "Unable to bootstrap" to a wrong password and to an unknown authority alike, and tells the cause to its
log only. So the connection is made once more, alone, and the error that this raises is put into words.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from aiokafka import errors
from aiokafka.conn import create_conn

from kmwatch.kafka.security import TokenError

_PROBE_MS = 5000
PASSED_ON = (
    "security_protocol",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_oauth_token_provider",
)


_STANDING: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((TokenError,), "no token for OAUTHBEARER: {}"),
    (
        (errors.SaslAuthenticationFailed, errors.AuthenticationFailedError),
        "refuses these credentials ({}); check user, password and mechanism under security",
    ),
    (
        (errors.UnsupportedSaslMechanismError, errors.IllegalSaslStateError),
        "does not take this mechanism ({}); check security.mechanism",
    ),
    ((errors.TopicAuthorizationFailedError,), "may not use the topic ({}); an ACL is missing"),
    ((errors.GroupAuthorizationFailedError,), "may not use the group ({}); an ACL is missing"),
    (
        (errors.ClusterAuthorizationFailedError,),
        "may not write idempotently ({}); an ACL is missing: IdempotentWrite on the cluster, or Write on the topic",
    ),
    ((errors.UnknownTopicOrPartitionError,), "the topic does not exist ({}); make it, or check its name"),
)


class Trouble(NamedTuple):
    """What is wrong, and whether an operator has to change something."""

    message: str
    is_standing: bool


async def diagnose(bootstrap: Sequence[str], security: Mapping[str, object], error: BaseException) -> Trouble:
    """Find out why no broker could be used.

    Args:
        bootstrap: the brokers.
        security: aiokafka's security arguments.
        error: what aiokafka raised.
    """
    if not isinstance(error, errors.KafkaConnectionError):
        return explained(error)
    return await tried(bootstrap, security) or Trouble(f"{error}; the brokers answer, try again", is_standing=False)


async def tried(bootstrap: Sequence[str], security: Mapping[str, object]) -> Trouble | None:
    """Connect and log in, for nothing else; None if a broker lets us in.

    Args:
        bootstrap: the brokers; one that refuses us speaks for all.
        security: aiokafka's security arguments.
    """
    found, is_in = None, False
    for broker in bootstrap:
        host, _, port = broker.rpartition(":")
        given = {name: security[name] for name in PASSED_ON if name in security}
        try:
            connection = await create_conn(host.strip("[]"), int(port), request_timeout_ms=_PROBE_MS, **given)
        except Exception as cause:  # noqa: BLE001 - whatever stands between us and this broker is the answer
            trouble = explained(cause, security)
            found = Trouble(f"{broker}: {trouble.message}", trouble.is_standing)
            if found.is_standing:
                return found
        else:
            is_in = True
            with suppress(Exception):
                connection.close()
    return None if is_in else found


def explained(error: BaseException, security: Mapping[str, object] | None = None) -> Trouble:
    """An error of aiokafka in words that say what to do. `security` only for what connecting raised."""
    cause = _tls(error)
    if cause is not None:
        return _of_tls(cause)
    for kinds, words in _STANDING:
        if isinstance(error, kinds):
            return Trouble(words.format(_words(error)), is_standing=True)
    if isinstance(error, TimeoutError):
        return Trouble("does not answer in time", is_standing=False)
    if isinstance(error, errors.KafkaConnectionError | ConnectionResetError) and security is not None:
        protocol = str(security.get("security_protocol", "PLAINTEXT")).lower()
        text = f"closed the connection; does this port speak {protocol}? ({_words(error)})"
        return Trouble(text, is_standing=False)
    return Trouble(_words(error), is_standing=False)


def _of_tls(error: ssl.SSLError) -> Trouble:
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"its certificate is refused: {error.verify_message}; check security.ca and the broker's certificate"
        return Trouble(text, is_standing=True)
    reason = (error.reason or "").upper().replace(" ", "_")
    return Trouble(f"TLS is refused: {reason or error}; check security.cert, key and the port", is_standing=True)


def _tls(error: BaseException) -> ssl.SSLError | None:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__
    return seen


def _words(error: BaseException) -> str:
    """Without the name of the class in brackets that aiokafka puts in front."""
    return str(error) or type(error).__name__
