"""The OpenAPI document against the service, as whoever generates a client from it would find out."""

from __future__ import annotations

import threading

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from alloysort_inference.doors.rest.app import create_app
from alloysort_inference.doors.rest.request import MULTIPART
from alloysort_inference.doors.serve import Server, listen, url
from alloysort_inference.doors.settings import Settings

# JSON Schema cannot say that wavelengths increase, that an axis is registered or that a file is there
BEYOND_A_SCHEMA = [positive_data_acceptance]
# a late piece is answered without a look at its files, and any bytes are a text of a form
FORM_TAKES_ANYTHING = [negative_data_rejection]


@pytest.fixture(scope="module")
def document(bundle):
    with listen("127.0.0.1", 0) as listener:
        server = Server(create_app(Settings(bundle=bundle.path)), None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield schemathesis.openapi.from_url(f"{url(listener)}/openapi.json", wait_for_schema=10)
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_the_document_says_is_so(document, mode):
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) > 8
    for operation in operations:

        @given(operation.as_strategy(generation_mode=mode))
        @settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None, derandomize=True)
        def check(case):
            loose = FORM_TAKES_ANYTHING if case.media_type == MULTIPART else []
            case.call_and_validate(excluded_checks=BEYOND_A_SCHEMA + loose)

        try:
            check()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # nothing can be wrong where nothing is sent
