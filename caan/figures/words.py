"""The words of a description that a figure can show, and the columns of its tokens that belong to each."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

# A short list of our own: the common ones for document retrieval also drop "bill", "fire" or "front", which a picture can show.
FUNCTION_WORDS = """
    a about above across after all along also an and another any are around as at away be because been before being below
    beneath beside besides between both but by can could do does down each either else even every few for from had has have he
    her his how if in inside instead into is it its itself just less like many may might more most much must near nearly no nor
    not of off often on onto only or other others our out outside over own per rather same several she should so some such than
    that the their them then there these they this those though through to together too toward towards under unlike until up
    upon usually very was well were what when where which while who whose will with within without would you your
"""
NUMBERS = "one ones two three four five six seven eight nine ten"
ABOUT_PICTURES = """
    called class common depicts describes drawing drawings drawn image images look looks outline photo photograph photos picture
    pictures seen show shown shows sketch sketches typical typically
"""
STOP_WORDS = frozenset(f"{FUNCTION_WORDS} {NUMBERS} {ABOUT_PICTURES}".split())


class Word(NamedTuple):
    """A word and the positions of all its pieces in the sentence, at all its places."""

    text: str
    columns: tuple[int, ...]


class Sentence(NamedTuple):
    """A tokenised sentence: its text, `input_ids` and `attention_mask` (length,), and its content words in their order."""

    text: str
    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    words: list[Word]


def read_sentences(tokenizer, texts: Sequence[str], max_length: int) -> list[Sentence]:
    """Sentences padded to one length, cut at `max_length` tokens, with their content words.

    Content words are those with letters alone, at least three, that are not in `STOP_WORDS`; special tokens and padding
    belong to no word. Pieces of a word are joined, and so are the places of a word that is said twice.

    Raises:
        ValueError: the tokenizer does not tell which token belongs to which word.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{type(tokenizer).__name__} does not tell the words of its tokens. Save the model with a fast tokenizer."
        )
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    return [
        Sentence(text, tokens["input_ids"][i], tokens["attention_mask"][i], content_words(text, tokens, i))
        for i, text in enumerate(texts)
    ]


def content_words(text: str, tokens, row: int) -> list[Word]:
    """The content words of row `row` of a `BatchEncoding`, made of `text`."""
    columns: dict[str, list[int]] = {}
    for column, word in enumerate(tokens.word_ids(row)):
        if word is None:  # special token or padding
            continue
        span = tokens.word_to_chars(row, word)
        name = text[span.start : span.end].strip().lower()
        if name.isalpha() and len(name) > 2 and name not in STOP_WORDS:
            columns.setdefault(name, []).append(column)
    return [Word(name, tuple(places)) for name, places in columns.items()]
