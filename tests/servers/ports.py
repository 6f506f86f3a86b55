"""Free TCP and UDP ports on 127.0.0.1 for the servers that tests start."""

from __future__ import annotations

import random
import socket

# Below Linux's range for outgoing connections: no client of a test can take a port while its server restarts.
_FIRST, _LAST = 20_000, 32_000
_random = random.SystemRandom()  # pytest-randomly seeds the shared generator alike in every process
_handed_out: set[int] = set()


def free_port() -> int:
    """A port on which nothing listens, neither TCP nor UDP; never the same one twice in a process.

    Raises:
        RuntimeError: a thousand tries found none, so something is wrong with this machine.
    """
    for _ in range(1000):
        port = _random.randint(_FIRST, _LAST)
        if port not in _handed_out and _is_free(port):
            _handed_out.add(port)
            return port
    message = f"no free port between {_FIRST} and {_LAST} on 127.0.0.1"
    raise RuntimeError(message)


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
