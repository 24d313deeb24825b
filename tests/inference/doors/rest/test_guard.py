"""Who may ask over HTTP, what browsers are told, and what the audit says of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from alloysort_inference.doors.rest.app import create_app
from alloysort_inference.doors.rest.guard import role_for
from alloysort_inference.doors.settings import Settings
from alloysort_inference.doors.tokens import make_token
from alloysort_inference.log.audit import read_audit
from alloysort_inference.log.database import open_database

AFAR = ("192.0.2.7", 1)
LOOPBACK = ("127.0.0.1", 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    path = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    return path, {role: make_token(path, f"the {role}", role) for role in ("read", "operate", "engineer")}


@pytest.fixture
def ask(bundle, made, tmp_path) -> Iterator[object]:
    """Requests one after another to an application that runs; (method, path, ...) to responses."""
    app = create_app(Settings(bundle=bundle.path, tokens=made[0], log=str(tmp_path / "log.sqlite")))
    with asyncio.Runner() as runner:
        context = app.router.lifespan_context(app)
        runner.run(context.__aenter__())

        async def send(client, method, path, token=None, **more):
            headers = more.pop("headers", {}) | (
                {} if token is None else {"Authorization": f"Bearer {token}"}
            )
            transport = httpx.ASGITransport(app, client=client)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as asking:
                return await asking.request(method, path, headers=headers, **more)

        yield lambda *args, **more: runner.run(send(*args, **more))
        runner.run(context.__aexit__(None, None, None))


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        *(("GET", path, None) for path in ("/", "/healthz", "/readyz", "/v2/health/live", "/page/app.js")),
        ("HEAD", "/healthz", None),
        *(("GET", path, "read") for path in ("/v1/model", "/metrics", "/docs", "/v2", "/v1/boxes", "/pages")),
        ("GET", "/v1/model/state", "read"),
        ("GET", "/page", "read"),
        ("GET", "/v1/audit", "engineer"),
        *(("POST", path, "operate") for path in ("/v1/classify", "/v1/classify/batch", "/v1/axes")),
        ("POST", "/v2/models/alloysort/infer", "operate"),
        ("POST", "/v2/models/alloysort/versions/1/infer", "operate"),
        ("POST", "/v2/repository/index", "operate"),
        *(
            ("POST", f"/v1/{what}/x/y", "operate")
            for what in ("boxes", "batches", "alarms", "kept", "recipe")
        ),
        ("POST", "/v1/recipe", "operate"),
        *(("POST", f"/v1/model/{what}", "engineer") for what in ("load", "shadow", "switch", "rollback")),
        ("POST", "/v1/recipes", "engineer"),
        ("POST", "/v1/classify\n", "engineer"),
        ("POST", "/healthz", "engineer"),
        ("POST", "/page/x", "engineer"),
        ("PUT", "/v1/recipe", "engineer"),
        ("DELETE", "/v1/kept/1", "engineer"),
        ("OPTIONS", "/v1/model", "engineer"),
    ],
)
def test_each_request_takes_the_role_of_the_table(method, path, role):
    assert role_for(method, path) == role


def test_from_afar_a_token_is_needed_and_its_role_counts(ask, made):
    tokens = made[1]
    for token, status in ((None, 401), ("wrong", 401), (tokens["read"], 200)):
        answer = ask(AFAR, "GET", "/v1/model", token)
        assert answer.status_code == status
        if status == 401:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["status"] == 401
            assert "wrong" not in answer.text
    denied = ask(AFAR, "POST", "/v1/model/switch", tokens["operate"])
    assert (denied.status_code, denied.json()["detail"]) == (
        403,
        "the operate has the role operate, this takes engineer",
    )
    assert ask(AFAR, "POST", "/v1/model/switch", tokens["engineer"]).status_code == 409  # nothing is loaded
    assert ask(AFAR, "POST", "/v1/boxes/none/close", tokens["operate"], json={}).status_code == 409
    assert ask(AFAR, "POST", "/v1/classify", tokens["read"], json={}).status_code == 403
    for free in ("/healthz", "/v2/health/live"):
        assert ask(AFAR, "GET", free).status_code == 200


def test_under_v2_it_is_said_in_the_words_of_that_protocol(ask, made):
    answer = ask(AFAR, "GET", "/v2/models/alloysort")
    assert (answer.status_code, list(answer.json())) == (401, ["error"])
    answer = ask(AFAR, "POST", "/v2/models/alloysort/infer", made[1]["read"], json={})
    assert answer.status_code == 403
    assert answer.json()["error"] == "the read has the role read, this takes operate"


def test_this_machine_needs_none_unless_it_forwards(ask):
    assert ask(LOOPBACK, "POST", "/v1/model/switch").status_code == 409
    assert ask(("::1", 1), "GET", "/v1/model").status_code == 200
    assert ask(LOOPBACK, "GET", "/v1/model", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401


def test_a_name_that_is_not_ours_is_refused_from_loopback(ask, made):
    host = {"Host": "evil.example:8000"}
    assert ask(LOOPBACK, "GET", "/v1/model", headers=host).status_code == 403
    assert ask(LOOPBACK, "GET", "/v1/model", headers={"Host": "localhost:8000"}).status_code == 200
    assert ask(AFAR, "GET", "/v1/model", made[1]["read"], headers={"Host": "plant-3:8000"}).status_code == 200


@pytest.mark.parametrize("client", [LOOPBACK, AFAR])
def test_another_site_cannot_change_anything_by_the_browser(ask, made, client):
    token = made[1]["engineer"]
    for origin, status in (
        ("http://evil.example", 403),
        ("http://127.0.0.1:8001", 403),
        ("null", 403),
        ("http://127.0.0.1:8000", 409),
    ):
        answer = ask(client, "POST", "/v1/model/switch", token, headers={"Origin": origin})
        assert answer.status_code == status, origin
    assert ask(client, "GET", "/v1/model", token, headers={"Origin": "null"}).status_code == 200


def test_browsers_are_told_what_our_pages_may_do(ask):
    for path in ("/healthz", "/static-offline-docs/swagger-ui.css", "/v1/model"):
        headers = ask(LOOPBACK, "GET", path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    for path in ("/docs", "/redoc"):
        policy = ask(LOOPBACK, "GET", path).headers["content-security-policy"]
        assert "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'" in policy


def test_the_documentation_loads_nothing_that_its_policy_forbids(ask):
    for path in ("/docs", "/redoc"):
        text = ask(LOOPBACK, "GET", path).text
        assert 'src="http' not in text
        assert 'href="http' not in text


def test_changes_and_refusals_are_in_the_audit_and_no_token(ask, made, bundle, tmp_path, caplog):
    caplog.set_level("INFO", "alloysort")
    tokens = made[1]
    wanted = {"bundle": str(bundle.path)}
    assert ask(AFAR, "POST", "/v1/model/load", tokens["engineer"], json=wanted).status_code == 200
    assert ask(LOOPBACK, "POST", "/v1/model/shadow").status_code == 200
    assert ask(LOOPBACK, "POST", "/v1/model/switch").status_code == 200
    assert ask(AFAR, "POST", "/v1/model/rollback", tokens["engineer"]).status_code == 200
    assert ask(AFAR, "POST", "/v1/model/rollback", tokens["read"]).status_code == 403
    for _ in range(20):
        assert ask(AFAR, "GET", "/v1/model", "a-wrong-one").status_code == 401
    assert ask(AFAR, "GET", "/v1/audit", tokens["operate"]).status_code == 403

    def entries():
        return ask(AFAR, "GET", "/v1/audit?most=50", tokens["engineer"]).json()

    until = time.monotonic() + 10
    while len(entries()) < 5:
        assert time.monotonic() < until
    found = entries()[::-1]
    told = [(one["who"], one["address"], one["action"]) for one in found]
    assert told[:5] == [
        ("the engineer", "192.0.2.7", "load"),
        ("this machine", "127.0.0.1", "shadow"),
        ("this machine", "127.0.0.1", "switch"),
        ("the engineer", "192.0.2.7", "rollback"),
        ("the read", "192.0.2.7", "POST /v1/model/rollback"),
    ]
    assert found[0]["details"]["bundle_sha256"] == bundle.sha256
    assert [one["refused"] is None for one in found[:5]] == [True] * 4 + [False]
    assert len(found) < 15  # of 22 refusals of one address a few are noted
    database = open_database(str(tmp_path / "log.sqlite"))
    try:
        everything = caplog.text + str(read_audit(database, 100)) + str(found)
    finally:
        database.dispose()
    assert "audit: the engineer (192.0.2.7): load" in caplog.text
    assert not [token for token in (*tokens.values(), "a-wrong-one") if token in everything]


def test_tokens_are_taken_anew_whole_or_not_at_all(bundle, tmp_path, caplog):
    path = tmp_path / "tokens.toml"
    first = make_token(path, "first", "read")
    service = create_app(Settings(bundle=bundle.path, tokens=path)).state.service
    second = make_token(path, "second", "read")
    assert service.access.tokens.find(second) is None
    asyncio.run(service.reload_tokens())
    assert service.access.tokens.find(second).name == "second"
    path.write_text("token = 1", encoding="utf-8")
    asyncio.run(service.reload_tokens())
    assert "the tokens stay as they were" in caplog.text
    assert service.access.tokens.find(first).name == "first"
    asyncio.run(service.close())
