"""Is an answer a description of looks? Answers of language models, tidied and checked before they are kept.

Ours: the paper does not say how its sentences were checked. Rules, not a second model, so that a check costs nothing and its
verdict can be read. An answer that ran into the token limit is not lost when whole sentences came before the cut: those are
kept (CuPL too stops at the first full stop). A rule errs towards asking again, which costs one more answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .looks import VISUAL_WORDS

THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
LIST_MARKER = re.compile(r"^\s*(?:[-*•#]+|\d+[.)])\s+", re.MULTILINE)
SPEAKER = re.compile(r"^(?:assistant|answer|description)\s*:\s*", re.IGNORECASE)
SENTENCE_END = re.compile(r"""(?<=[.!?])["'”’)\]]*\s+(?=["'“‘(\[]*[A-Z0-9])""")
COMPLETE = re.compile(r"""[.!?]["'”’)\]]*$""")
REFUSAL = re.compile(
    r"\b(?:i['’]?m sorry|i am sorry|i apologi[sz]e|unfortunately, i|as an? (?:\w+ )?(?:ai|assistant|language model|llm)\b"
    r"|i (?:cannot|can['’]?t|can not|do not|don['’]?t|am not|am unable|won['’]?t|could not|couldn['’]?t)\b"
    r"|i['’]m (?:unable|not able|just an? |only an? ))",
    re.IGNORECASE,
)
# Words that carry no content of their own: an answer made of these and of its question's words says nothing.
_FUNCTION_WORDS = """
    a an the of in on at to for with by from and or but is are was be it its this that they their them you your he she as do
    does can may which what how when where has have had there here would could will look looks like
    """
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
FIRST_PERSON = frozenset(("i", "i'd", "i'll", "i'm", "i've", "me", "my", "mine"))  # a story or an aside, not a description


@dataclass(frozen=True)
class Checks:
    """Limits of the checks, in words or sentences; 0 words switches a lower limit off (for a set in another language)."""

    min_words: int = 4
    min_visual_words: int = 1
    max_sentences: int = 2


def words_of(text: str) -> list[str]:
    """Lower-case words of a text, hyphens and apostrophes kept inside."""
    return re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text.lower().replace("’", "'"))


def tidy(text: str) -> str:
    """An answer on one line: thoughts, list markers, bold marks, a speaker's name and quotes around it taken away.

    Half a character (a lone surrogate, which JSON allows and UTF-8 does not) becomes a question mark.
    """
    text = text.encode(errors="replace").decode()
    text = LIST_MARKER.sub("", THOUGHT.sub("", text)).replace("**", "")
    text = SPEAKER.sub("", " ".join(text.split()))
    if len(text) > 1 and text[0] in "\"“'" and text[-1] in "\"”'":
        text = text[1:-1].strip()
    return text


def whole_sentences(text: str, complete: bool, limit: int) -> str:
    """The first `limit` sentences. Of a text that was cut off (`complete=False`) a last unfinished one is left out."""
    sentences = [s for s in SENTENCE_END.split(text) if s]
    if sentences and not complete and not COMPLETE.search(sentences[-1]):
        sentences.pop()
    kept = " ".join(sentences[:limit])
    return kept + "." if kept and not COMPLETE.search(kept) else kept


def review(answer: str, question: str, complete: bool, checks: Checks) -> tuple[str, str | None]:
    """The text to keep, and why it must not be kept (None when it is good).

    `complete` is False when the model stopped at its token limit. Reasons: "empty", "refuses", "cut off", "repeats the
    prompt", "asks a question", "too short", "repeats itself", "not about looks".
    """
    tidied = tidy(answer)
    if not words_of(tidied):
        return tidied, "empty"
    if REFUSAL.search(tidied):
        return tidied, "refuses"
    text = whole_sentences(tidied, complete, checks.max_sentences)
    if not text:
        return tidied, "cut off"
    return text, _fault_of(text, question, checks)


def _fault_of(text: str, question: str, checks: Checks) -> str | None:
    words = words_of(text)
    distinct = set(words)
    if " ".join(words_of(question)) in " ".join(words) or len(distinct - set(words_of(question)) - FUNCTION_WORDS) < 2:
        return "repeats the prompt"
    if text.rstrip("\"'”’)]").endswith("?"):
        return "asks a question"
    if len(words) < checks.min_words:
        return "too short"
    if len(words) >= 12 and len(distinct) < len(words) / 2:
        return "repeats itself"
    if distinct & FIRST_PERSON or len(visual_words(text) - visual_words(question)) < checks.min_visual_words:
        return "not about looks"
    return None


def visual_words(text: str) -> set[str]:
    """The words of `VISUAL_WORDS` in a text, also in a plural or in a part of a hyphenated word ("four-legged")."""
    parts = [part for word in words_of(text) for part in (word, *word.split("-"))]
    return {form for part in parts for form in (part, part.removesuffix("s"), part.removesuffix("es")) if form in VISUAL_WORDS}
