"""The properties of the Kafka of the tests, and SASL_SSL with SCRAM-SHA-512 for those who ask for it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

_HUGE = 2**63 - 1


def broker_properties(bootstrap: str, controller: str, secure: str | None, data: Path) -> dict[str, str]:
    """A single node, broker and controller in one, with a plain listener and, if asked for, a secure one."""
    clients = f"PLAINTEXT://{bootstrap}" + (f",SASL_SSL://{secure}" if secure else "")
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"{clients},CONTROLLER://{controller}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": str(data),
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "auto.create.topics.enable": "false",
        # After a kill the controller waits for the dead broker's session before it takes the new one.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "300",
        # Recordings carry the time they were made at: neither expire them nor refuse them as of the future.
        "log.retention.ms": "-1",
        "log.message.timestamp.after.max.ms": str(_HUGE),
    }


@dataclass(frozen=True)
class Scram:
    """A user, and the authority that signed the broker's certificate (for `localhost`)."""

    user: str = "kmwatch"
    password: str = "correct-horse"
    authority: trustme.CA = field(default_factory=trustme.CA)

    @property
    def storage_entry(self) -> str:
        """The user as Kafka's StorageTool takes it."""
        return f"SCRAM-SHA-512=[name={self.user},password={self.password}]"

    def ca_file(self, folder: Path) -> Path:
        """Write the authority's certificate for a client's configuration; return its path."""
        path = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(path)
        return path

    def client_context(self) -> ssl.SSLContext:
        """What a client needs to trust the broker."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def broker_properties(self, folder: Path) -> dict[str, str]:
        """What the secure listener adds; writes the broker's key and certificates into the folder."""
        issued = self.authority.issue_cert("localhost")
        # Kafka's PEM stores take PKCS#8 keys only, and trustme writes the older form.
        key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        keystore = folder / "broker.pem"
        keystore.write_bytes(pkcs8 + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": login,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca_file(folder)),
        }
