"""What stands before gradio.  python -m pytest tests/search/app/test_guard.py"""

import asyncio

import pytest

from caan.search.app import guard
from caan.search.app.guard import Guard, host_of

CALLS = "/gradio_api/component_server/"
JSON = (b"content-type", b"application/json")


class Inner:
    """An app that answers with the length of what it was sent."""

    called = False

    async def __call__(self, scope, receive, send):
        self.called, body, more = True, b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": str(len(body)).encode()})


def ask(path="/", parts=(b"",), headers=(), method="POST", host=b"localhost:7860", hosts=("localhost",), limit=100):
    """Status, headers and body of an answer, and whether the app was asked."""
    inner, sent = Inner(), []
    scope = {"type": "http", "path": path, "method": method, "headers": [(b"host", host), *headers]}
    messages = [{"type": "http.request", "body": part, "more_body": n < len(parts) - 1} for n, part in enumerate(parts)]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(inner, limit, hosts)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"], inner.called


def test_a_request_goes_through_as_it_was_sent():
    status, headers, body, _ = ask(parts=(b"ab", b"cde"))
    assert (status, body) == (200, b"5") and headers[b"content-type"] == b"text/plain"
    assert b"default-src 'self'" in headers[b"content-security-policy"] and b"http" not in headers[b"content-security-policy"]


@pytest.mark.parametrize(
    "parts, headers",
    [
        ((b"",), [(b"content-length", b"101")]),
        ((b"",), [(b"content-length", b"-1")]),
        ((b"",), [(b"content-length", b"many")]),
        ((b"x" * 60, b"x" * 60), []),  # chunked
        ((b"x" * 101,), [(b"content-length", b"5")]),  # a lie
    ],
)
def test_long_bodies_are_refused_before_the_app_is_asked(parts, headers):
    status, _, body, called = ask(parts=parts, headers=headers)
    assert status == 413 and not called and b"longer than" in body


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/upload",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/run/predict",
        "/gradio_api/vibe-edit",
        "/gradio_api/queue/join",
        "/gradio_api/queue/data",
        "/gradio_api/openapi.json",
        "/openapi.json",
        "/monitoring",
        "/gradio_api/runs",
        "//gradio_api/file=/etc/passwd",
        "/config\n",
        "/a door that gradio will have next year",
    ],
)
def test_doors_of_gradio_that_the_page_does_not_use_are_closed(path):
    for method in ("GET", "POST"):
        status, _, _, called = ask(path, method=method)
        assert status == 404 and not called


@pytest.mark.parametrize(
    "path", ["/", "/config", "/assets/x.js", "/theme.css", "/login", CALLS, CALLS[:-1], "/gradio_api/startup-events"]
)
def test_what_the_page_needs_is_open(path):
    assert ask(path, headers=[JSON])[0] == 200


@pytest.mark.parametrize("kind", [b"text/plain", b"multipart/form-data; boundary=x", b"application/jsonx", None])
def test_calls_are_json_alone(kind):
    """What a form of another site can send without being asked first, and what gradio writes to the disk."""
    status, _, _, called = ask(CALLS, headers=[(b"content-type", kind)] if kind else [])
    assert status == 415 and not called


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 200),  # no browser
        ({"origin": "http://localhost:7860"}, 200),
        ({"origin": "http://localhost:3000"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "https://["}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://photos.example", "x-forwarded-host": "photos.example"}, 200),  # a proxy with TLS
        ({"origin": "https://photos.example", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://localhost:7860", "sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),  # a form
        ({"sec-fetch-site": "none"}, 200),
    ],
)
@pytest.mark.parametrize("hosts", [("localhost",), None])
def test_pages_of_other_sites_get_nothing(headers, status, hosts):
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    answer, _, _, called = ask(CALLS, headers=[JSON, *sent], hosts=hosts)
    assert (answer, called) == (status, status == 200)
    assert ask(CALLS, headers=[JSON, *sent], hosts=hosts, method="OPTIONS")[0] == status


def test_a_link_of_another_site_leads_to_the_page():
    link = [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"navigate")]
    assert ask("/", headers=link, method="GET")[0] == 200


def test_all_bodies_together_are_bounded(monkeypatch):
    monkeypatch.setattr(guard, "HELD", 150)
    layer, answers = Guard(Inner(), 100, None), {}

    async def client(name, hold):
        sent, parts = [], [{"type": "http.request", "body": b"x" * 80, "more_body": True}]

        async def receive():
            if parts:
                return parts.pop()
            await hold.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        await layer({"type": "http", "path": "/login", "method": "POST", "headers": []}, receive, send)
        answers[name] = sent[0]["status"]

    async def clients():
        hold = asyncio.Event()
        first = asyncio.create_task(client("first", hold))
        await asyncio.sleep(0)
        await client("second", hold)
        hold.set()
        await first
        await client("third", hold)

    asyncio.run(clients())
    assert answers == {"first": 200, "second": 503, "third": 200} and layer.held == 0


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE", 0.01)
    sent = []

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    layer = Guard(Inner(), 100, None)
    asyncio.run(layer({"type": "http", "path": "/login", "method": "POST", "headers": []}, receive, send))
    assert sent[0]["status"] == 408 and layer.held == 0


@pytest.mark.parametrize(
    "host, status", [(b"localhost", 200), (b"localhost:1", 200), (b"LOCALHOST", 200), (b"evil.example", 403), (b"", 403)]
)
def test_strangers_names_for_this_machine_are_refused(host, status):
    assert ask(host=host)[0] == status
    assert ask(host=host, hosts=None)[0] == 200


def test_hosts_with_ports():
    assert [host_of(name) for name in ("a:80", "a", "[::1]:80", "[::1]")] == ["a", "a", "[::1]", "[::1]"]
