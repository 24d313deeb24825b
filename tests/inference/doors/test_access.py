"""Who may ask: addresses, names of this machine, other sites' pages, and how many refusals are noted."""

from __future__ import annotations

import socket
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_inference.doors.access import (
    NOTES_PER_S,
    Access,
    DeniedError,
    Sparing,
    Who,
    is_loopback,
    is_own_name,
)
from alloysort_inference.doors.tokens import Tokens


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_a_loopback_address_is_this_machine(address):
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["", "192.0.2.7", "fe80::1%eth0", "::", "localhost", "::ffff:192.0.2.7"])
def test_no_other_is(address):
    assert not is_loopback(address)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "192.0.2.7", "", socket.gethostname()],
)
def test_a_name_of_this_machine_is_known(host):
    assert is_own_name(host.encode())


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "[evil]", "\xff"]
)
def test_another_name_is_not(host):
    assert not is_own_name(host.encode("latin-1"))


def test_whoever_a_proxy_forwards_is_not_this_machine():
    access = Access(Tokens())
    assert access.admit("127.0.0.1", {}, "engineer", changes=True) == Who(
        "this machine", "engineer", "127.0.0.1"
    )
    for header in (b"x-forwarded-for", b"forwarded"):
        with pytest.raises(DeniedError, match="a token is needed") as denied:
            access.admit("127.0.0.1", {header: b"127.0.0.1"}, "read", changes=False)
        assert denied.value.status is HTTPStatus.UNAUTHORIZED


@given(st.binary(), st.binary(), st.binary(), st.booleans())
def test_no_header_from_afar_lets_anybody_in_where_no_token_is_known(authorization, host, origin, changes):
    headers = {b"authorization": authorization, b"host": host, b"origin": origin}
    with pytest.raises(DeniedError):
        Access(Tokens()).admit("192.0.2.7", headers, "read", changes=changes)


def test_refusals_are_noted_sparingly_and_the_others_counted():
    sparing = Sparing()
    assert sparing.note("a", 0.0) == 0
    assert [sparing.note("a", 0.1 * tick) for tick in range(1, 10)] == [None] * 9
    assert sparing.note("a", 1.0) == 9
    noted = [sparing.note(str(number), 5.0) for number in range(100_000)]
    assert noted == [0] * NOTES_PER_S + [None] * (100_000 - NOTES_PER_S)
    assert sparing.note("b", 6.0) == 100_000 - NOTES_PER_S
