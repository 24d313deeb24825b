"""What the process says of itself on stderr: a line of text a message, or a line of JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, Literal

Form = Literal["text", "json"]
SPEAKERS: Final = ("alloysort", "uvicorn", "asyncio")
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """A message as a JSON object: time (UTC), level, logger, message, and a traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """As a line without its end."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def speak(form: Form) -> None:
    """Say on stderr, in this form, what operators are to know."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(_TEXT))
    for name in SPEAKERS:
        logging.getLogger(name).handlers = [handler]
