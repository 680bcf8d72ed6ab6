"""Prompt sets: what is asked about each class, kept as data in `caan/descriptions/prompt_sets/*.yaml`.

A set is a YAML file: `prompts` maps a prompt's name to its template; `system`, `generation` and `checks` are optional;
`direct: true` makes the prompt itself the text, with no language model. The paper asks "several interrogative sentences" for
each training class (section on the Description Generation Module) but its sentences are not public, so `interrogative` is
ours, `cupl` follows CuPL's public templates, and `plain` is CLIP's template. One's own set is a file of the same form.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from caan.options import COUNT, NOT_NEGATIVE, SHARE_ABOVE_ZERO

from .checks import Checks
from .names import question_fields

SHIPPED_FOLDER = Path(__file__).parent / "prompt_sets"
RANGES = {
    "temperature": NOT_NEGATIVE,
    "top_p": SHARE_ABOVE_ZERO,
    "max_new_tokens": COUNT,
    "min_words": NOT_NEGATIVE,
    "min_visual_words": NOT_NEGATIVE,
    "max_sentences": COUNT,
}
KEYS = {"system", "prompts", "generation", "checks", "direct"}


class PromptSetError(ValueError):
    """A prompt set that cannot be used; the message names the file and the cure."""


@dataclass(frozen=True)
class Generation:
    """How a model is sampled: `temperature` 0 is greedy, `top_p` is a share of probability, `max_new_tokens` a count."""

    temperature: float = 0.7
    top_p: float = 0.9
    max_new_tokens: int = 96


@dataclass(frozen=True)
class PromptSet:
    """Named templates, the system prompt that goes before them, and how the answers are sampled and checked."""

    name: str
    prompts: dict[str, str]
    system: str = ""
    direct: bool = False
    generation: Generation = field(default_factory=Generation)
    checks: Checks = field(default_factory=Checks)

    def question(self, prompt: str, class_name: str) -> str:
        """The template named `prompt`, filled with a class name of any archive's spelling."""
        return self.prompts[prompt].format(**question_fields(class_name))


def shipped_prompt_sets() -> list[str]:
    """Names of the prompt sets that come with the package, sorted."""
    return sorted(path.stem for path in SHIPPED_FOLDER.glob("*.yaml"))


def load_prompt_set(name_or_path: str | Path) -> PromptSet:
    """A shipped set by its name, or one's own by the path of a YAML file (its stem becomes the set's name).

    Raises `PromptSetError` when there is no such set or its content cannot be used.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = SHIPPED_FOLDER / f"{name_or_path}.yaml"
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_NoRepeatedKeys)
    except FileNotFoundError:
        known = ", ".join(shipped_prompt_sets())
        raise PromptSetError(f"no prompt set {name_or_path}: take one of {known}, or the path of a .yaml file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PromptSetError(f"{path}: cannot be read as YAML: {error}") from error
    return _build(path, content)


def _build(path: Path, content: Any) -> PromptSet:
    if not isinstance(content, dict) or not isinstance(content.get("prompts"), dict) or not content["prompts"]:
        raise PromptSetError(f"{path}: needs `prompts:`, a mapping from a prompt's name to its template")
    if unknown := set(content) - KEYS:
        raise PromptSetError(f"{path}: unknown key {', '.join(sorted(map(str, unknown)))}; known are {', '.join(sorted(KEYS))}")
    for key, kind, example in (("system", str, "a text"), ("direct", bool, "true or false")):
        if not isinstance(content.get(key), kind | None):
            raise PromptSetError(f"{path}: `{key}` must be {example}, not {content[key]!r}")
    for name, template in content["prompts"].items():
        _check_template(path, name, template)
    return PromptSet(
        name=path.stem,
        prompts=dict(content["prompts"]),
        system=content.get("system") or "",
        direct=bool(content.get("direct", False)),
        generation=_section(path, "generation", Generation, content),
        checks=_section(path, "checks", Checks, content),
    )


def _check_template(path: Path, name: Any, template: Any) -> None:
    if not isinstance(name, str) or not isinstance(template, str):
        raise PromptSetError(f"{path}: prompt {name!r} must be a name and a text (put quotes around a text with a colon)")
    known = question_fields("owl")
    try:
        used = {field_name for _, field_name, _, _ in string.Formatter().parse(template) if field_name is not None}
    except ValueError as error:
        raise PromptSetError(f"{path}: prompt {name}: {error}; write {{{{ and }}}} for plain braces") from error
    if unknown := used - set(known):
        raise PromptSetError(f"{path}: prompt {name} asks for {sorted(unknown)}; known are {', '.join(known)}")
    if not used & {"name", "a_name"}:
        raise PromptSetError(f"{path}: prompt {name} does not name the class: put {{name}} or {{a_name}} in it")


def _section(path: Path, key: str, cls: type, content: dict[str, Any]) -> Any:
    values = content.get(key) or {}
    known = [f.name for f in fields(cls)]
    if not isinstance(values, dict) or set(values) - set(known):
        raise PromptSetError(f"{path}: `{key}` takes {', '.join(known)}, not {values!r}")
    if wrong := [name for name, value in values.items() if isinstance(value, bool) or not isinstance(value, (int, float))]:
        raise PromptSetError(f"{path}: `{key}`: {', '.join(wrong)} must be a number")
    for item in fields(cls):
        value = values.get(item.name, item.default)
        if not RANGES[item.name].holds(value) or isinstance(item.default, int) and not isinstance(value, int):
            whole = "a whole number, " if isinstance(item.default, int) else ""
            raise PromptSetError(f"{path}: `{key}`: {item.name} must be {whole}{RANGES[item.name]}, got {value}")
    return cls(**values)


class _NoRepeatedKeys(yaml.SafeLoader):
    """YAML keeps the last of two equal keys without a word, and a question would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [key.value for key, _ in node.value]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"{sorted(repeated)} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
