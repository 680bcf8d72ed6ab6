"""A chat-completion service as the back end: Hub providers, or any OpenAI-style server by its `base_url`.

`huggingface_hub.InferenceClient` speaks the protocol; here are the parts it leaves out: retries with back-off, several
requests at once, and care for the key. The key is passed in by the caller, is used for the request header alone, and is cut
out of every message; a `base_url` without a key of its own gets a placeholder, because the client would otherwise send the
user's Hub token to that server.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from .backends import Answer, BackendError, Request
from .prompts import Generation

NO_KEY = "no-key"  # local servers ignore it
RETRIED_STATUS = {408, 409, 425, 429, 500, 502, 503, 504, 529}
REFUSED_FOR_ALL = {401, 402, 403, 404, 405}  # key, payment, model or address: no other question fares better
MAX_UNANSWERED = 4  # different questions in a row without an answer, each after all its retries: the service is down
# What a reply raises that is no JSON, or JSON of another form than a chat completion.
_BROKEN = (ValueError, TypeError, KeyError, AttributeError, IndexError)


class ChatBackend:
    """A chat-completion service.

    Args:
        model: the model's name at the service (a Hub id for Hub providers).
        base_url: an OpenAI-style server, "http://localhost:8000/v1"; None asks through the Hub's providers.
        provider: a Hub provider's name, a text; None lets the Hub choose. Not together with `base_url`.
        api_key: the service's key; None uses the Hub login for Hub providers and no key for a `base_url`.
        timeout: seconds to wait for one answer.
        retries: how often a request is sent again after a 408, 429, 5xx, a time-out, a lost connection or a broken answer.
        backoff: seconds before the first retry, doubled for each next one, up to `max_delay`; a `Retry-After` header wins.

    Raises `BackendError` for a URL with a password or query in it, for a refused key, model or address, and when
    `MAX_UNANSWERED` questions in a row stay unanswered. Another refusal (400, 422: often one question that a content filter
    stops) is that question's `Answer.error` alone.
    """

    whole_batches = False

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        provider: Any = None,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        backoff: float = 1.0,
        max_delay: float = 60.0,
    ) -> None:
        if base_url and provider:
            raise BackendError("base_url and provider name two services: give one of them")
        self.model = model
        self.retries, self.backoff, self.max_delay = retries, backoff, max_delay
        self._secret, self._through_hub = api_key, base_url is None
        self._stop = threading.Event()
        self._unanswered: set[str] = set()
        if base_url:
            _refuse_secret_in_url(base_url)
            self._client = InferenceClient(base_url=base_url, api_key=api_key or NO_KEY, timeout=timeout)
        else:
            self._client = InferenceClient(provider=provider, api_key=api_key, timeout=timeout)

    def ask(self, requests: Sequence[Request], generation: Generation) -> Iterator[tuple[int, Answer]]:
        """Send a batch's requests side by side and yield answers as they come; see `Backend.ask`."""
        self._stop.clear()
        with ThreadPoolExecutor(max_workers=max(1, len(requests))) as pool:
            futures = {pool.submit(self._answer, r, generation): position for position, r in enumerate(requests)}
            try:
                for future in as_completed(futures):
                    answer = future.result()
                    self._unanswered = set() if answer.reached else {*self._unanswered, requests[futures[future]].question}
                    yield futures[future], answer
                    if len(self._unanswered) >= MAX_UNANSWERED:
                        raise BackendError(f"{MAX_UNANSWERED} questions in a row had {answer.error}")
            finally:
                self._stop.set()  # wakes the requests that wait for a retry

    def _answer(self, request: Request, generation: Generation) -> Answer:
        for attempt in range(self.retries + 1):
            wait = None
            try:
                return self._send(request, generation)
            except HfHubHTTPError as error:
                status, wait = error.response.status_code, _retry_after(error)
                reason = self._redact(f"HTTP {status} {error.server_message or ''}")
                if status in REFUSED_FOR_ALL:
                    raise BackendError(f"the service refused: {reason}") from None
                if status not in RETRIED_STATUS:
                    return Answer(error=f"no answer: {reason}")
            except OfflineModeIsEnabled:
                raise BackendError("HF_HUB_OFFLINE is set, and the client then sends nothing anywhere: unset it") from None
            except (HTTPError, OSError) as error:
                reason = self._redact(f"{type(error).__name__} {error}")
            except _BROKEN as error:
                reason = f"broken answer ({self._redact(repr(error))})"
            if attempt < self.retries and self._stop.wait(self._delay(attempt, wait)):
                break
        return Answer(error=f"no answer after {attempt + 1} requests: {reason}", reached=False)

    def _send(self, request: Request, generation: Generation) -> Answer:
        system = [{"role": "system", "content": request.system}] if request.system else []
        try:
            output = self._client.chat_completion(
                [*system, {"role": "user", "content": request.question}],
                model=self.model,
                max_tokens=generation.max_new_tokens,
                temperature=generation.temperature,
                top_p=generation.top_p,
                seed=request.seed,
            )
        except ValueError as error:
            # A plain ValueError is the client's own: no login, or a model that the provider does not serve.
            if self._through_hub and type(error) is ValueError:
                raise BackendError(self._redact(str(error))) from None
            raise
        choice = output.choices[0]
        if not isinstance(choice.message.content, str | None):
            raise TypeError("content is not a text")
        return Answer(choice.message.content or "", complete=choice.finish_reason != "length")

    def _delay(self, attempt: int, retry_after: float | None) -> float:
        """Seconds to wait: as the service asks, else exponential with jitter (requests that failed together spread out)."""
        wanted = self.backoff * 2**attempt * random.uniform(0.75, 1.25) if retry_after is None else retry_after
        return min(wanted, self.max_delay)

    def _redact(self, message: str) -> str:
        message = " ".join(message.split())
        return message.replace(self._secret, "<key>") if self._secret else message


def _refuse_secret_in_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BackendError("base_url must be like http://localhost:8000/v1")
    if parts.username or parts.password or parts.query:
        # Not quoted in the message: a URL like that often holds a key.
        raise BackendError("base_url holds a user, password or query; put the key in an environment variable (--api_key_env)")


def _retry_after(error: HfHubHTTPError) -> float | None:
    """Seconds that a `Retry-After` header asks for; its rarer date form is left to the back-off."""
    try:
        return max(0.0, float(error.response.headers.get("Retry-After", "")))
    except ValueError:
        return None
