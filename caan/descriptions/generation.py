"""The Description Generation Module: every question of a prompt set is asked about every class, and good answers are kept.

The paper prompts a large language model "with several interrogative sentences for each training category" and uses the
answers as auxiliary text in training alone. What is ours: each answer is checked and, if it fails, asked for again with
another seed; each (class, prompt, attempt) has a seed of its own, derived from the run's; batches are cut from the full list
of questions, answered or not. So a run that was killed and resumed writes the same file as an unbroken one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from .backends import Backend, Request
from .checks import review
from .prompts import Generation, PromptSet
from .store import DescriptionFile, DescriptionFileError


@dataclass(frozen=True)
class Failure:
    """A (class, prompt) without a description: why its last answer was not kept, and that answer."""

    class_name: str
    prompt: str
    reason: str
    text: str


@dataclass
class Report:
    """Counts of lines `written` now and `found` from before, and what failed."""

    written: int = 0
    found: int = 0
    failures: list[Failure] = field(default_factory=list)


def seed_of(seed: int, class_name: str, prompt: str, attempt: int) -> int:
    """The seed of one attempt, 31 bits (services take no more): the same on every machine, unlike `hash`."""
    digest = hashlib.sha256("\0".join((str(seed), class_name, prompt, str(attempt))).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def describe(
    classes: Sequence[str],
    prompt_set: PromptSet,
    backend: Backend,
    path: str | Path,
    *,
    seed: int = 0,
    tries: int = 3,
    batch_size: int = 8,
    generation: Generation | None = None,
    progress: bool = True,
) -> Report:
    """Write a description for each class and prompt into the file at `path`, going on from what it holds.

    Args:
        classes: class names as the archive spells them, each once.
        prompt_set: what to ask; `generation` overrides its sampling.
        backend: what answers (`Verbatim` for a direct set).
        seed: of the run; each attempt's own seed is derived from it.
        tries: attempts for each class and prompt before it is given up.
        batch_size: questions asked together.

    Raises `DescriptionFileError` when the file is locked, broken, or holds a prompt of the same name from another set, and
    `BackendError` when the back end cannot go on. What was written stays in either case.
    """
    questions = [(class_name, prompt) for class_name in classes for prompt in prompt_set.prompts]
    with DescriptionFile(path) as file:
        _refuse_other_set(file, prompt_set)
        run = _Run(prompt_set, backend, file, seed, tries, generation or prompt_set.generation)
        run.report.found = sum(question in file for question in questions)
        with tqdm(total=len(questions), initial=run.report.found, unit="text", disable=not progress) as run.bar:
            for start in range(0, len(questions), batch_size):
                run.ask(questions[start : start + batch_size])
    return run.report


@dataclass
class _Run:
    prompt_set: PromptSet
    backend: Backend
    file: DescriptionFile
    seed: int
    tries: int
    generation: Generation
    report: Report = field(default_factory=Report)
    bar: tqdm = field(default_factory=lambda: tqdm(disable=True))

    def ask(self, batch: Sequence[tuple[str, str]]) -> None:
        """Ask a batch until each question has a good answer or no try left."""
        waiting, failures = list(batch), {}
        for attempt in range(1, self.tries + 1):
            missing = [question for question in waiting if question not in self.file]
            if not missing:
                return
            asked = waiting if self.backend.whole_batches else missing
            failures = self._attempt(asked, attempt)
            waiting = [question for question in asked if question in failures]
        self.report.failures += [failures[question] for question in waiting if question not in self.file]

    def _attempt(self, asked: Sequence[tuple[str, str]], attempt: int) -> dict[tuple[str, str], Failure]:
        requests = [
            Request(self.prompt_set.system, self.prompt_set.question(prompt, name), seed_of(self.seed, name, prompt, attempt))
            for name, prompt in asked
        ]
        failures = {}
        for position, answer in self.backend.ask(requests, self.generation):
            question, request = asked[position], requests[position]
            if answer.error:
                failures[question] = Failure(*question, answer.error, "")
                continue
            text, reason = answer.text, None
            if not self.prompt_set.direct:
                text, reason = review(answer.text, request.question, answer.complete, self.prompt_set.checks)
            if reason:
                failures[question] = Failure(*question, reason, text)
            elif question not in self.file:
                self._keep(question, text, request.seed, attempt)
        return failures

    def _keep(self, question: tuple[str, str], text: str, seed: int, attempt: int) -> None:
        self.file.append(
            {
                "class": question[0],
                "prompt": question[1],
                "text": text,
                "prompt_set": self.prompt_set.name,
                "model": self.backend.model,
                "seed": None if self.prompt_set.direct else seed,
                "attempts": 0 if self.prompt_set.direct else attempt,
            }
        )
        self.report.written += 1
        self.bar.update()


def _refuse_other_set(file: DescriptionFile, prompt_set: PromptSet) -> None:
    for (_, prompt), line in file.lines.items():
        other = line.get("prompt_set", prompt_set.name)
        if prompt in prompt_set.prompts and other != prompt_set.name:
            raise DescriptionFileError(
                f"{file.path}: holds prompt {prompt!r} of the set {other}, which {prompt_set.name} has too; "
                "choose another file or another name for the prompt"
            )
