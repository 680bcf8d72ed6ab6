"""What stands before gradio: bounds on requests, no files by path, nothing fetched from outside, no strangers' host names.

gradio's `max_file_size` bounds uploads of files alone, not calls of server functions, which it reads whole; so bodies are
counted here as they come.
"""

import re
from collections.abc import Collection
from typing import Any

# What the page never asks for: files by path, uploads to the disk, addresses to fetch, and other doors of gradio.
CLOSED = re.compile(
    r"^(/gradio_api)?/(file|upload|proxy|stream|custom_component|deep_link|monitoring|mcp|run|api|call|process_recording|"
    r"vibe|undo-vibe|dev)"
)
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class Guard:
    """An ASGI layer around an app.

    Args:
        limit: bytes of a request's body. hosts: names by which the page may be asked for, None = any: a page of a stranger
            whose name is made to mean this machine is refused (DNS rebinding).
    """

    def __init__(self, app: Any, limit: int, hosts: Collection[str] | None = None):
        self.app, self.limit, self.hosts = app, limit, hosts

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self.hosts is not None and host_of(headers.get(b"host", b"").decode("latin-1")) not in self.hosts:
            await refuse(send, 403, "This page is not asked for by that name.")
        elif CLOSED.match(scope["path"]):
            await refuse(send, 404, "There is nothing here.")
        elif (length := headers.get(b"content-length", b"0")) and not (length.isdigit() and int(length) <= self.limit):
            await refuse(send, 413, f"The request is longer than {self.limit / 1e6:.0f} MB.")
        else:
            await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: dict, receive: Any, send: Any) -> None:
        """The app with a body that is read, and counted, before it begins: a length that was stated need not be true."""
        parts, total, more = [], 0, scope["method"] not in ("GET", "HEAD")
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            parts.append(message.get("body", b""))
            total += len(parts[-1])
            if total > self.limit:
                await refuse(send, 413, f"The request is longer than {self.limit / 1e6:.0f} MB.")
                return
            more = message.get("more_body", False)
        waiting = [{"type": "http.request", "body": b"".join(parts), "more_body": False}] if scope["method"] != "GET" else []

        async def replay() -> dict:
            return waiting.pop() if waiting else await receive()

        async def with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        await self.app(scope, replay, with_headers)


def host_of(header: str) -> str:
    """The name in a Host header, without its port."""
    return header.rpartition(":")[0] if re.search(r":\d+$", header) else header


async def refuse(send: Any, status: int, words: str) -> None:
    """A short answer in words."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})
