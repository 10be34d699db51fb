"""Structured logs on stderr: one JSON object a line, never with prompts, outputs, keys or tokens."""

import json
import logging
import sys
from datetime import UTC, datetime

from supervisor.console.repeats import RepeatFilter

__all__ = ["configure_logging"]


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        execution_id = getattr(record, "execution_id", None)
        if execution_id is not None:
            entry["execution_id"] = execution_id
        repeated = getattr(record, "repeated", 1)
        if repeated > 1:
            entry["repeated"] = repeated
        if record.exc_info and record.exc_info[0] is not None:
            # Frames say where; the exception's own text could quote what was being handled.
            entry["exception"] = record.exc_info[0].__name__
            entry["where"] = _frames(record)
        return json.dumps(entry)


def _frames(record: logging.LogRecord) -> str:
    trace = record.exc_info[2] if record.exc_info else None
    places = []
    while trace is not None:
        places.append(f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " > ".join(places)


def configure_logging(level: int) -> None:
    """Send every log of this process to stderr as JSON lines, equal warnings ever more rarely."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    handler.addFilter(RepeatFilter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
