"""How to talk to Kafka's brokers, as a source and as a sink: TLS, client certificates, SASL."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from kmwatch.config.base import Model
from kmwatch.config.values import ConfigPath, Credential, Id, Text

_SASL = ("sasl_plaintext", "sasl_ssl")
_TLS = ("ssl", "sasl_ssl")


def _token_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.username or parts.password:
        raise ValueError("must be https://host/path, without user and password")
    return value


class OAuth(Model):
    """Where a token comes from: an endpoint that grants it to a client (RFC 6749 4.4), or a file that others renew."""

    token_file: ConfigPath | None = None
    """File of the token itself, read anew for each connection."""
    token_url: Annotated[Text, AfterValidator(_token_url)] | None = None
    """The token endpoint."""
    client_id: Id | None = None
    """The client."""
    client_secret: Credential | None = None
    """Its secret: text, ${NAME} or file:PATH."""
    scope: Id | None = None
    """The scope to ask for."""
    ca: ConfigPath | None = None
    """PEM file of the authorities to trust for the endpoint, in place of the system's."""

    @model_validator(mode="after")
    def _one_way(self) -> OAuth:
        granted = (self.token_url, self.client_id, self.client_secret)
        if (self.token_file is None) == all(value is None for value in granted):
            raise ValueError("give either token_file, or token_url, client_id and client_secret")
        if self.token_file is None and any(value is None for value in granted):
            raise ValueError("token_url, client_id and client_secret belong together; give all of them")
        return self


class Security(Model):
    """How to talk to the brokers."""

    protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    """With or without TLS and SASL."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    """The SASL mechanism."""
    username: Id | None = None
    """The SASL user."""
    password: Credential | None = None
    """Its password: text, ${NAME} or file:PATH."""
    oauth: OAuth | None = None
    """Where the token of OAUTHBEARER comes from."""
    ca: ConfigPath | None = None
    """PEM file of the authorities to trust, in place of the system's."""
    cert: ConfigPath | None = None
    """PEM file of the client's certificate."""
    key: ConfigPath | None = None
    """PEM file of the client's key."""
    check_hostname: bool = Field(default=True)
    """Whether the brokers' certificates must name them; false only where they cannot."""

    @model_validator(mode="after")
    def _consistent(self) -> Security:
        self._check_sasl()
        tls = {"ca": self.ca, "cert": self.cert, "key": self.key}
        if self.protocol not in _TLS and any(value is not None for value in tls.values()):
            raise ValueError(f"protocol {self.protocol} uses no ca, cert or key; remove them or use ssl or sasl_ssl")
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both or neither")
        return self

    def _check_sasl(self) -> None:
        bearer = self.mechanism == "OAUTHBEARER"
        sasl = {"mechanism": self.mechanism, "username": self.username, "password": self.password}
        if self.protocol not in _SASL:
            if self.oauth is not None or any(value is not None for value in sasl.values()):
                raise ValueError(
                    f"protocol {self.protocol} uses no mechanism, username or password;"
                    " remove them or write protocol: sasl_ssl"
                )
            return
        if bearer:
            if self.oauth is None or self.username is not None or self.password is not None:
                raise ValueError("mechanism OAUTHBEARER needs oauth, and no username or password")
            return
        missing = [key for key, value in sasl.items() if value is None]
        if missing:
            raise ValueError(f"protocol {self.protocol} needs {', '.join(missing)}; add them")
        if self.oauth is not None:
            raise ValueError("oauth needs mechanism: OAUTHBEARER")
