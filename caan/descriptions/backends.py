"""What a back end is: something that answers questions, a batch at a time. `local.py` and `chat.py` hold the two real ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from .prompts import Generation


class BackendError(RuntimeError):
    """A back end that cannot go on: no such model, a refused key, a service that is down. The message tells the cure."""


@dataclass(frozen=True)
class Request:
    """One question. `seed` is its own, so that its answer does not hang on what is asked beside it."""

    system: str
    question: str
    seed: int


@dataclass(frozen=True)
class Answer:
    """What came back: `complete` is False at the token limit; `error` is set where no answer could be had.

    `reached` is False where the error is the service's silence and not its refusal of this question.
    """

    text: str = ""
    complete: bool = True
    error: str | None = None
    reached: bool = True


class Backend(Protocol):
    """`model` is kept in each line. `whole_batches` asks for the same batches on every run, answered before or not:

    padding makes a local model's numbers depend on the batch to the last bit, and a resumed run is to equal an unbroken one.
    """

    @property
    def model(self) -> str | None: ...

    @property
    def whole_batches(self) -> bool: ...

    def ask(self, requests: Sequence[Request], generation: Generation) -> Iterator[tuple[int, Answer]]:
        """Yield (position in `requests`, answer) as answers come, each position once."""
        ...


class Verbatim:
    """Gives each question back: a direct prompt set's prompts are the texts, and no model is asked."""

    model = None
    whole_batches = False

    def ask(self, requests: Sequence[Request], generation: Generation) -> Iterator[tuple[int, Answer]]:
        yield from ((position, Answer(request.question)) for position, request in enumerate(requests))
