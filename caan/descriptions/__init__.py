"""Class descriptions, written by a language model: the paper's Description Generation Module.

    from caan.descriptions import describe, load_prompt_set, read_descriptions
    from caan.descriptions.local import LocalBackend

    describe(["owl", "hot-air_balloon"], load_prompt_set("interrogative"), LocalBackend("org/model"), "birds.jsonl")
    read_descriptions("birds.jsonl")["owl"]["outline"]

One idea a file: `names` (class names made readable), `prompts` (prompt sets), `checks` and `looks` (is an answer a
description), `store` (the file), `backends`, `local`, `chat` (what answers), `generation` (the loop), `classes` (class
lists), `command` (`caan describe`). The back ends are imported from their own files, so that reading descriptions needs
neither a model library nor an HTTP client.
"""

from .backends import Answer, Backend, BackendError, Request, Verbatim
from .checks import Checks, review
from .classes import ClassListError, read_class_list, split_classes
from .generation import Failure, Report, describe, seed_of
from .names import readable_name, with_article
from .prompts import Generation, PromptSet, PromptSetError, load_prompt_set, shipped_prompt_sets
from .store import DescriptionFile, DescriptionFileError, read_descriptions

__all__ = [
    "Answer",
    "Backend",
    "BackendError",
    "Checks",
    "ClassListError",
    "DescriptionFile",
    "DescriptionFileError",
    "Failure",
    "Generation",
    "PromptSet",
    "PromptSetError",
    "Report",
    "Request",
    "Verbatim",
    "describe",
    "load_prompt_set",
    "read_class_list",
    "read_descriptions",
    "readable_name",
    "review",
    "seed_of",
    "shipped_prompt_sets",
    "split_classes",
    "with_article",
]
