"""An HTTP endpoint that others can reach, and what they could read there."""

from __future__ import annotations

from kmwatch.config.listening import listening
from kmwatch.config.problems import Level, Problem
from kmwatch.config.settings import Http
from kmwatch.config.source import Document


def lint_http(http: Http, document: Document) -> list[Problem]:
    """Warn of an endpoint off the loopback that asks for no token, or hears it in the clear.

    Args:
        http: the endpoint, which is valid.
        document: for lines.
    """
    if listening(http.listen).loopback:
        return []
    where = ("http", "listen")
    reached = f"{http.listen} can be reached from other machines"
    if http.token is None:
        message = (
            f"{reached}, and whoever reaches it reads who is being watched; set http.token, or listen on 127.0.0.1"
        )
    elif http.cert is None:
        message = f"{reached}, and the token goes over the network in the clear; set http.cert and http.key"
    else:
        return []
    return [Problem(document.file, document.line(where), "http.listen", message, Level.WARNING)]
