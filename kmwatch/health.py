"""`kmwatch health`: asks the daemon beside it whether it lives, for whoever watches over processes and containers.

It runs every few seconds for as long as the daemon does, so it loads next to nothing: of the configuration it reads
`http.listen` and whether there is a certificate. It sends no token, since the two paths it asks need none, and believes
an answer no more than that there is one: so it takes whatever certificate the daemon shows, a renewed one too.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

from kmwatch.config.listening import Listening, read_listening
from kmwatch.config.problems import ConfigurationError, printable

OK, WRONG, FAILED = 0, 1, 3
HELP = "ask the running daemon whether it lives; for health checks"
_TIMEOUT = 4.0  # seconds
_LARGEST = 65_536  # octets of an answer that are looked at


def options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the daemon's configuration")
    parser.add_argument("--ready", action="store_true", help="ask whether it does its work, too")
    parser.add_argument("--standby", action="store_true", help="with --ready: one that could take over will do")
    parser.set_defaults(command=run)


def main(arguments: Sequence[str]) -> int:
    """The command by itself. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="kmwatch health", description=HELP)
    options(parser)
    return run(parser.parse_args(arguments))


def run(given: argparse.Namespace) -> int:
    """Ask, and say what is wrong. Returns 0, 1 if the configuration is, or 3 if the daemon is not as asked for."""
    try:
        where = read_listening(given.config, os.environ)
    except ConfigurationError as error:
        sys.stderr.writelines(f"{problem.render()}\n" for problem in error.problems)
        return WRONG
    path = "/healthz" if not given.ready else "/readyz?standby=ready" if given.standby else "/readyz"
    try:
        status, body = ask(where, path)
    except (OSError, HTTPException, UnicodeError) as error:  # UnicodeError: no name of a host
        at = printable(f"{where.near}:{where.port}")
        sys.stderr.write(f"kmwatch: no answer at {at}: {printable(str(error))}\n")
        return FAILED
    if status != 200:  # noqa: PLR2004
        sys.stderr.write(f"kmwatch: {path} answers {status}{_problems(body)}\n")
        return FAILED
    return OK


def ask(where: Listening, path: str) -> tuple[int, bytes]:
    """One request. Raises OSError, HTTPException, UnicodeError: nothing answers, or nothing that speaks HTTP."""
    if where.tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: HTTPConnection = HTTPSConnection(where.near, where.port, timeout=_TIMEOUT, context=context)
    else:
        connection = HTTPConnection(where.near, where.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_LARGEST)
    finally:
        connection.close()


def _problems(body: bytes) -> str:
    """What /readyz says is wrong; it says nothing where a token is asked for."""
    try:
        told = json.loads(body)["problems"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return f": {printable('; '.join(map(str, told)))}" if told and isinstance(told, list) else ""
