"""TLS of sinks that connect: one way to build a context, one way to name what went wrong."""

from __future__ import annotations

import ssl
from pathlib import Path

from kmwatch.ports import ConfigurationError, SinkError, TransientError

# Alerts and errors of OpenSSL that stay until somebody changes a certificate, a port or a policy.
_STANDING = (
    "CERTIFICATE",
    "UNKNOWN_CA",
    "HANDSHAKE_FAILURE",
    "ACCESS_DENIED",
    "PROTOCOL_VERSION",
    "WRONG_VERSION_NUMBER",
    "UNSUPPORTED_PROTOCOL",
    "INSUFFICIENT_SECURITY",
    "UNRECOGNIZED_NAME",
    "RECORD_LAYER_FAILURE",
)


def client_context(ca: str | Path | None, cert: str | Path | None, key: str | Path | None) -> ssl.SSLContext:
    """TLS 1.2 or newer that checks the server's certificate and name.

    Args:
        ca: PEM file of trusted authorities; None takes the system's.
        cert: PEM file of our own certificate chain, if the server asks for one.
        key: PEM file of its private key; None if it stands in `cert`.

    Raises:
        ConfigurationError: a file is missing or holds nothing usable.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"ca {ca}: {error}; give a PEM file of the authority's certificate") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is None and key is not None:
        raise ConfigurationError(f"key {key} without cert; give the certificate that belongs to it")
    if cert is not None:
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigurationError(f"cert {cert}, key {key}: {error}; give a PEM pair") from error
    return context


def _no_password() -> str:
    """Refuse instead of asking on the terminal, which would hang a daemon."""
    raise ValueError("the private key is encrypted; give one without a passphrase")


def failure(peer: str, error: BaseException | None) -> SinkError:
    """Say in the sink's own terms why a connection could not be made or kept."""
    if isinstance(error, SinkError):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError(
            f"{peer}: its certificate is refused: {error.verify_message}; "
            "check ca, server_name and the certificate that the receiver presents"
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").upper().replace(" ", "_")
        if any(word in reason for word in _STANDING):
            return ConfigurationError(f"{peer}: TLS is refused: {reason}; check cert, key and the receiver's port")
    if error is None:
        return TransientError(f"{peer}: closed the connection")
    if isinstance(error, TimeoutError):
        return TransientError(f"{peer}: no answer in time")
    return TransientError(f"{peer}: {str(error) or type(error).__name__}")
