"""What stands before gradio: bounds on requests, few doors open, nothing fetched from outside, no strangers' names or pages.

gradio's `max_file_size` bounds uploads of files alone, not calls of server functions, which it reads whole; so bodies are
counted here as they come. gradio lets pages of every site read its answers, with the cookie of the one who is logged in,
unless it is asked for as localhost; so pages of other sites are refused here.
"""

import asyncio
import re
from collections.abc import Collection, Mapping
from typing import Any

# What the page and gradio's login ask for. All else is closed: files by path, uploads to the disk, addresses to fetch, queues.
CALLS = "/gradio_api/component_server"
OPEN = re.compile(
    r"/(config/?|theme\.css|favicon\.ico|manifest\.json|robots\.txt|pwa_icon(/\d+)?|login/?|logout|(assets|static)/.*)?"
    rf"|{CALLS}/?|/gradio_api/(startup-events|heartbeat/\w+|(login_check|user|token|app_id|info)/?|theme\.css)"
)
HELD = 80_000_000  # bytes of all bodies that are held at once
PATIENCE = 60  # seconds that a body may take to come
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
        self.app, self.limit, self.hosts, self.held = app, limit, hosts, 0

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif problem := self._problem(scope, dict(scope["headers"])):
            await refuse(send, *problem)
        else:
            await self._pass_on(scope, receive, send)

    def _problem(self, scope: dict, headers: Mapping[bytes, bytes]) -> tuple[int, str] | None:
        """Why a request is refused, by its head: status and words."""
        if self.hosts is not None and host_of(headers.get(b"host", b"").decode("latin-1")) not in self.hosts:
            return 403, "This page is not asked for by that name."
        if is_foreign(scope["method"], headers):
            return 403, "Pages of other sites get nothing here."
        if not OPEN.fullmatch(scope["path"]):
            return 404, "There is nothing here."
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if scope["path"].startswith(CALLS) and scope["method"] == "POST" and kind != b"application/json":
            return 415, "A call is JSON."
        length = headers.get(b"content-length", b"0")
        if not (length.isdigit() and int(length) <= self.limit):
            return self._too_long()
        return None

    def _too_long(self) -> tuple[int, str]:
        return 413, f"The request is longer than {self.limit / 1e6:.0f} MB."

    async def _pass_on(self, scope: dict, receive: Any, send: Any) -> None:
        """The app with a body that is read, and counted, before it begins: a length that was stated need not be true."""
        body = bytearray()
        try:
            if problem := None if scope["method"] in ("GET", "HEAD") else await self._read(body, receive):
                await refuse(send, *problem)
            else:
                await self._answer(scope, bytes(body), receive, send)
        finally:
            self.held -= len(body)

    async def _read(self, body: bytearray, receive: Any) -> tuple[int, str] | None:
        """Fills `body`; gives why it is refused."""
        try:
            return await asyncio.wait_for(self._fill(body, receive), PATIENCE)
        except asyncio.TimeoutError:
            return 408, "The request took too long to come."

    async def _fill(self, body: bytearray, receive: Any) -> tuple[int, str] | None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return 400, "The request broke off."  # nobody hears it
            part = message.get("body", b"")
            self.held += len(part)
            body += part
            if len(body) > self.limit:
                return self._too_long()
            if self.held > HELD:
                return 503, "Too many people are searching at this moment: try again in a few seconds."
            more = message.get("more_body", False)
        return None

    async def _answer(self, scope: dict, body: bytes, receive: Any, send: Any) -> None:
        waiting = [{"type": "http.request", "body": body, "more_body": False}] if scope["method"] != "GET" else []

        async def replay() -> dict:
            return waiting.pop() if waiting else await receive()

        async def with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        await self.app(scope, replay, with_headers)


def is_foreign(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a page of another site asks. Links to the page may come from anywhere.

    Browsers say it themselves where the connection is encrypted or to this machine; elsewhere the origin is compared with the
    name that was asked for.
    """
    if site := headers.get(b"sec-fetch-site"):
        follows_a_link = method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
        return site not in (b"same-origin", b"none") and not follows_a_link
    if (origin := headers.get(b"origin")) is None:
        return False
    return origin.partition(b"://")[2] not in (headers.get(b"host"), headers.get(b"x-forwarded-host"))


def host_of(header: str) -> str:
    """The name in a Host header, without its port."""
    return (header.rpartition(":")[0] if re.search(r":\d+$", header) else header).lower()


async def refuse(send: Any, status: int, words: str) -> None:
    """A short answer in words."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})
