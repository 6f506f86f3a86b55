"""A real Apache Kafka as its users secure it: client certificates, SASL in four mechanisms, ACLs that deny by default.

Who is who: `kmwatch` has what a test grants it; `guest` can log in and has nothing. Over mutual TLS the certificate's
common name is the user. The plain listener is the administrator's.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import NamedTuple

import trustme
from aiohttp import web
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from kmwatch.config.security import Security
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_config import Scram
from tests.servers.ports import free_port

USER, GUEST, PASSWORD = "kmwatch", "guest", "correct-horse"
TOPIC, GROUP = 2, 3
READ, WRITE, DESCRIBE = 3, 4, 8
_LITERAL, _ALLOW = 3, 3
_LOGIN = "org.apache.kafka.common.security"


class Certificate(NamedTuple):
    cert: Path
    key: Path


class SecureKafka(KafkaServer):
    """See the module."""

    def __init__(self, folder: Path) -> None:
        self._mutual = free_port()
        self.mutual_bootstrap = f"localhost:{self._mutual}"
        super().__init__(folder, scram=Scram(USER, PASSWORD))
        assert self.scram is not None
        self.ca = self.scram.ca_file(folder)
        self.foreign_ca = folder / "foreign-ca.pem"
        trustme.CA().cert_pem.write_to_path(self.foreign_ca)

    def certificate(self, user: str) -> Certificate:
        """A client's certificate for a user."""
        assert self.scram is not None
        issued = self.scram.authority.issue_cert(f"{user}.example.org", common_name=user)
        made = Certificate(self.folder / f"{user}.pem", self.folder / f"{user}-key.pem")
        made.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(made.key)
        return made

    def security(self, **given: object) -> Security:
        """A configuration's `security` for the SASL listener, `given` on top."""
        base: dict[str, object] = {"protocol": "sasl_ssl", "ca": str(self.ca)}
        return Security.model_validate(base | given)

    def set_password(self, user: str, password: str) -> None:
        """Give a user a SCRAM-SHA-512 password, a new one or the first."""
        entry = f"SCRAM-SHA-512=[iterations=4096,password={password}]"
        which = ["--bootstrap-server", self.bootstrap, "--entity-type", "users", "--entity-name", user]
        self._tool("kafka.admin.ConfigCommand", *which, "--alter", "--add-config", entry)

    async def allow(self, operation: int, kind: int, name: str, user: str = USER) -> None:
        """Add an ACL."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            request = CreateAclsRequest(kind, name, _LITERAL, f"User:{user}", "*", operation, _ALLOW)
            answer = await admin._client.send(admin._client.get_random_node(), request)
            assert all(code == 0 for code, _ in answer.creation_responses), answer
        finally:
            await admin.close()

    def _format(self, overrides: dict[str, str]) -> None:
        clients = f"PLAINTEXT://{self.bootstrap},SASL_SSL://{self.secure_bootstrap},MTLS://{self.mutual_bootstrap}"
        sasl = "listener.name.sasl_ssl"
        users = " ".join(f'user_{user}="{PASSWORD}"' for user in (USER, GUEST))
        super()._format(
            overrides
            | {
                "listeners": f"{clients},CONTROLLER://{self._controller}",
                "advertised.listeners": clients,
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,MTLS:SSL",
                "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN,OAUTHBEARER",
                f"{sasl}.scram-sha-256.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
                f"{sasl}.plain.sasl.jaas.config": f"{_LOGIN}.plain.PlainLoginModule required {users};",
                f"{sasl}.oauthbearer.sasl.jaas.config": (
                    f"{_LOGIN}.oauthbearer.OAuthBearerLoginModule required"
                    ' unsecuredLoginStringClaim_sub="broker" unsecuredValidatorAllowableClockSkewMs="3000";'
                ),
                "listener.name.mtls.ssl.client.auth": "required",
                "listener.name.mtls.ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
                "allow.everyone.if.no.acl.found": "false",
            }
        )

    def _storage_tool(self, *arguments: str) -> str:
        if arguments[0] == "format":
            arguments = (*arguments, "--add-scram", f"SCRAM-SHA-256=[name={USER},password={PASSWORD}]")
        return super()._storage_tool(*arguments)


def token(user: str, seconds: int = 300) -> str:
    """An unsecured JWS, which Kafka's own validator takes unless it is given another."""
    now = int(time.time())
    parts = ({"alg": "none"}, {"sub": user, "iat": now, "exp": now + seconds, "scope": "kafka"})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, ""])


class TokenEndpoint:
    """Grants tokens to the client `kmwatch` with the secret `s3cret` (RFC 6749 4.4)."""

    def __init__(self) -> None:
        self.port = free_port()
        self.granted = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/token", self._grant)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _grant(self, request: web.Request) -> web.Response:
        form = await request.post()
        expected = "Basic " + base64.b64encode(b"kmwatch:s3cret").decode()
        if request.headers.get("Authorization") != expected or form.get("grant_type") != "client_credentials":
            return web.json_response({"error": "invalid_client"}, status=401)
        self.granted += 1
        return web.json_response({"access_token": token(USER), "token_type": "Bearer", "expires_in": 300})
