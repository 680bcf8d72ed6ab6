"""Descriptions of the benchmarks' classes: five answers of a large language model a class.

``descriptions/benchmarks.jsonl`` holds one text a line, ``{"concept", "prompt", "text"}``;
``descriptions/concepts.json`` maps each benchmark's class names, as its archive spells them, to concepts. Classes
that mean the same thing in several benchmarks share their texts. The prompts are ours (the paper's could not be
had): appearance, parts, outline in a line drawing, surface in a photo, and difference from what looks most like it.
"""

import functools
import json
from importlib import resources
from pathlib import Path

from dataset_scripts.core.texts import read_text

PROMPTS = ("appearance", "parts", "outline", "surface", "difference")


def read_descriptions(path: str | Path) -> dict[str, list[str]]:
    """Texts of each class of a JSON-lines file, in the order of `PROMPTS`; other prompts follow in the file's order.

    A line has "prompt", "text", and either "class" (as ``caan describe`` writes them) or "concept" (as shipped here).

    Raises:
        ValueError: a line is something else, or the file is no UTF-8; the message gives file and line.
    """
    texts: dict[str, dict[str, str]] = {}
    for number, line in enumerate(read_text(Path(path)).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            concept, prompt, text = row["class"] if "class" in row else row["concept"], row["prompt"], row["text"]
            for value in (concept, prompt, text):
                str.encode(value)  # TypeError: no text; ValueError: half a character, which JSON allows and Arrow does not
            texts.setdefault(concept, {})[prompt] = text
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path}, line {number}: expected texts, {{"class": ..., "prompt": ..., "text": ...}}') from error
    order = {prompt: i for i, prompt in enumerate(PROMPTS)}
    return {
        concept: [by_prompt[p] for p in sorted(by_prompt, key=lambda p: order.get(p, len(order)))]
        for concept, by_prompt in texts.items()
    }


@functools.cache
def benchmark_descriptions(benchmark: str) -> dict[str, list[str]]:
    """Texts of each class of ``sketchy``, ``tuberlin`` or ``quickdraw``, keyed by the class's name in the archive.

    Raises:
        KeyError: no such benchmark.
    """
    folder = resources.files("dataset_scripts") / "descriptions"
    concepts = json.loads(read_text(Path(str(folder / "concepts.json"))))[benchmark]
    texts = read_descriptions(str(folder / "benchmarks.jsonl"))
    return {label: texts[concept] for label, concept in concepts.items()}
