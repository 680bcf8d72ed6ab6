"""What stands before gradio.  python -m pytest tests/search/app/test_guard.py"""

import asyncio

import pytest

from caan.search.app.guard import Guard, host_of


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
        "/monitoring",
    ],
)
def test_doors_of_gradio_that_the_page_does_not_use_are_closed(path):
    for method in ("GET", "POST"):
        status, _, _, called = ask(path, method=method)
        assert status == 404 and not called


@pytest.mark.parametrize("path", ["/", "/config", "/assets/x.js", "/theme.css", "/gradio_api/component_server", "/login"])
def test_what_the_page_needs_is_open(path):
    assert ask(path)[0] == 200


@pytest.mark.parametrize("host, status", [(b"localhost", 200), (b"localhost:1", 200), (b"evil.example", 403), (b"", 403)])
def test_strangers_names_for_this_machine_are_refused(host, status):
    assert ask(host=host)[0] == status
    assert ask(host=host, hosts=None)[0] == 200


def test_hosts_with_ports():
    assert [host_of(name) for name in ("a:80", "a", "[::1]:80", "[::1]")] == ["a", "a", "[::1]", "[::1]"]
