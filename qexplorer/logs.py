"""Structured logs on stderr: one JSON object a line, or coloured lines on a terminal."""

import logging
import sys
from typing import Any

import structlog

QUIET = ("aiokafka", "faust", "mode", "httpx", "httpcore", "openai", "transformers")


def configure_logs(level: str = "info", *, json: bool | None = None) -> None:
    """Send the logs of the project and of its libraries to stderr; the libraries' from WARNING on.

    Raises ValueError for a level that does not exist.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, render] if as_json else [*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    tail: list[Any] = [structlog.processors.format_exc_info, render] if as_json else [render]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    # What OpenSearch answers is said once, by us; its client would add a traceback to each refused connection.
    logging.getLogger("opensearch").setLevel(logging.CRITICAL)
