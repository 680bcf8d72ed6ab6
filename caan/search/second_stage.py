"""The place for a second stage: the first results of a search, scored anew by local tokens that a gallery keeps on request."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from caan.search.engine import Engine
from caan.search.results import Found


class SecondStage(Protocol):
    """Scores pictures by what the gallery keeps of their local tokens (`Engine.keep_tokens`), in a form of its own."""

    def score(self, sketch: Any, tokens: Sequence[bytes]) -> Sequence[float]:
        """A score a picture, higher = more like the sketch."""
        ...


def rescored(found: Found, engine: Engine, sketch: Any, stage: SecondStage, first: int) -> Found:
    """The results with those among the `first` that have tokens in the order of their new scores, in the places that they had.

    All others stay where they were, with their scores. Whether any stands out is what the first stage told.
    """
    tokens = engine.tokens([result.content for result in found[:first]])
    kept = {place: packed for place, packed in enumerate(tokens) if packed is not None}
    scores = stage.score(sketch, list(kept.values())) if kept else []
    order = sorted(zip(scores, kept), key=lambda pair: (-pair[0], pair[1]))
    results = list(found)
    for place, (score, before) in zip(kept, order):
        results[place] = replace(found[before], score=float(score), rank=place + 1)
    return Found(results, found.standing)
