"""Owns structured logs: one line a step, in text for people or JSON for machines; leaves what is said to the loops."""

from __future__ import annotations

import logging
import sys

import structlog

from tenantry.settings import LogFormat, Settings

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up_logs(settings: Settings) -> None:
    """Send log lines to stderr in the form that the settings ask for."""
    renderer = (
        structlog.processors.JSONRenderer()
        if settings.log_format is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.log_level.lower()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
