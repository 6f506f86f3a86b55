"""structlog: JSON lines on standard error, or a console form for people. No line per record, no payload, no token."""

from __future__ import annotations

import logging
import sys

import structlog

from kmwatch.wire.escape import visible


def configure(level: str = "info", form: str = "json") -> None:
    """Send structlog and the standard library's loggers through one formatter.

    Args:
        level: debug, info, warning or error.
        form: json or console.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    render: list[structlog.types.Processor] = [structlog.processors.JSONRenderer(ensure_ascii=True)]
    if form == "console":
        render = [_readable, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                *render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def _readable(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Texts as a terminal may have them: servers, drivers and clients choose some of them."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = visible(value, keep_newlines=key == "exception")
    return event
