from __future__ import annotations

import time

import pytest

from kmwatch.store.redact import KEPT_BYTES, redacted
from tests.support.audit import TOKEN

FERNET = b"gAAAAABrBKZ0Tlk3fTp6N03_D1FDYcm5Tz-SB" * 4 + b"=="


@pytest.mark.parametrize(
    "text",
    [
        b'{"token": "%s"}' % FERNET,
        b'{\\"token\\": \\"%s\\"}' % FERNET,
        b"X-Auth-Token: %s" % FERNET,
        b"broken %s broken" % FERNET,
        b"gAAAA of a log: " + FERNET,
        TOKEN.encode(),
        b"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
        b'"password": "hunter2hunter2"',
        b'\\"admin_password\\": \\"hunter2hunter2\\"',
        b"secret=hunter2hunter2",
        b'"authorization": "Basic hunter2hunter2"',
    ],
)
def test_tokens_and_passwords_are_gone(text: bytes) -> None:
    clean = redacted(text)
    assert b"***" in clean
    for secret in (FERNET, FERNET[5:], b"hunter2", b"D1FDYcm5Tz_SB", b"c2lnbmF0dXJl", b"N03"):
        assert secret not in clean


def test_what_is_no_token_stays_for_whoever_looks_into_it() -> None:
    text = b'{"requestPath": "/v1/secrets/c87aa996/payload", "action": "read", "id": "\xff"}'
    assert redacted(text) == text


def test_a_long_record_is_cut_and_says_so() -> None:
    clean = redacted(b"x" * (KEPT_BYTES + 1))
    assert clean == b"x" * KEPT_BYTES + b"...(cut; %d bytes in all)" % (KEPT_BYTES + 1)
    assert redacted(b"x" * KEPT_BYTES) == b"x" * KEPT_BYTES


def test_a_token_across_the_cut_does_not_survive_it() -> None:
    for shift in range(0, 160, 7):
        assert FERNET[5:25] not in redacted(b"x" * (KEPT_BYTES - shift) + b" " + FERNET + b" " * KEPT_BYTES)


@pytest.mark.parametrize(
    "piece",
    [b"token", b"token ", b'token"', b"token-", b"secret=", b"gAAAA", b"eyJ", b"token\\", b"gAAAAAAAAA x", b"token: "],
)
def test_no_record_makes_redaction_slow(piece: bytes) -> None:
    began = time.process_time()
    redacted(piece * (2 * KEPT_BYTES // len(piece)))
    spent = time.process_time() - began
    assert spent < 10, "with an endless repetition in the pattern this takes a minute"
