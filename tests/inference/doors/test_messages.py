"""What the process says of itself."""

from __future__ import annotations

import json
import logging

import pytest

from alloysort_inference.doors.messages import SPEAKERS, speak


@pytest.fixture(autouse=True)
def as_before():
    before = {name: logging.getLogger(name).handlers for name in SPEAKERS}
    yield
    for name, handlers in before.items():
        logging.getLogger(name).handlers = handlers


def test_a_line_of_json_a_message_tracebacks_included(capsys):
    speak("json")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("alloysort").exception("a batch of %d failed", 3)
    told = json.loads(capsys.readouterr().err)
    assert (told["level"], told["logger"], told["message"]) == ("error", "alloysort", "a batch of 3 failed")
    assert told["traceback"].endswith("ValueError: two\nlines")
    assert told["time"].endswith("+00:00")


def test_text_says_when_and_who(capsys):
    speak("text")
    logging.getLogger("alloysort").warning("the disk is full")
    assert capsys.readouterr().err.endswith("WARNING alloysort: the disk is full\n")
