"""Class names as an archive spells them, made readable for a question.

Archives write `hot-air_balloon`, `car_(sedan)`, `eiffel tower`; a language model reads "a hot-air balloon", "a sedan car",
"the Eiffel Tower". Grammar goes by rules with short lists of exceptions (ours), because the field's class names are a few
hundred plain English nouns: a wrong article costs little, and a dependency for it would cost more.
"""

from __future__ import annotations

import re

# Spellings whose plain reading would mislead; the archives mean the animal. A gloss that is not here stays: "bear (animal)".
READABLE = {
    "bat": "bat (animal)",
    "mouse": "mouse (animal)",
    "ray": "ray (fish)",
    "moon": "the moon",
    "sun": "the sun",
    "ipod": "iPod",
    "suv": "SUV",
    "tv": "TV",
    "car (sedan)": "sedan car",
    "pipe (for smoking)": "smoking pipe",
    "head-phones": "headphones",
    "eiffel tower": "the Eiffel Tower",
    "santa claus": "Santa Claus",
    "sponge bob": "SpongeBob",
}
PROPER_NAMES = {"the Eiffel Tower", "Santa Claus", "SpongeBob"}
MASS_NOUNS = {"armor", "armour", "asparagus", "bread", "broccoli", "grass", "lightning", "rain", "sand", "snow"}
SINGULAR_IN_S = {"lens", "series", "species", "chess", "news", "tennis", "canvas", "mars"}
SINGULAR_ENDING = re.compile(r"(ss|us|is|os|as)$")  # glass, cactus, iris, rhinoceros, atlas
VOWEL_SOUND = re.compile(r"[aeiou]|hour|heir|honest|x-ray|(?-i:[AEFHILMNORSX][A-Z]{1,3}\b)", re.IGNORECASE)
CONSONANT_SOUND = re.compile(r"uni|use|usu|eu|ewe|one\b|once|uku|ute|(?-i:U[A-Z]{1,3}\b)", re.IGNORECASE)


def readable_name(class_name: str) -> str:
    """`"hot-air_balloon"` -> `"hot-air balloon"`: blanks for underscores, known spellings put right, hyphens kept."""
    name = " ".join(class_name.replace("_", " ").split())
    return READABLE.get(name.lower(), name)


def is_plural(name: str) -> bool:
    """Whether a readable name takes a plural verb, as "scissors" or "eyeglasses" do; its last word decides."""
    words = re.sub(r"\(.*?\)", "", name).split()
    last = words[-1].lower() if words else ""
    return last.endswith("s") and not SINGULAR_ENDING.search(last) and last not in SINGULAR_IN_S and not is_proper(name)


def is_proper(name: str) -> bool:
    """Whether a readable name is the name of one thing, "the Eiffel Tower", and takes no further article."""
    return name in PROPER_NAMES or name.lower().startswith("the ")


def with_article(name: str) -> str:
    """`"owl"` -> `"an owl"`, `"unicycle"` -> `"a unicycle"`, `"scissors"` and `"bread"` unchanged."""
    if is_proper(name) or is_plural(name) or name.lower() in MASS_NOUNS:
        return name
    vowel = VOWEL_SOUND.match(name) and not CONSONANT_SOUND.match(name)
    return f"{'an' if vowel else 'a'} {name}"


def question_fields(class_name: str) -> dict[str, str]:
    """The words a prompt may ask for: `name`, `a_name` (with its article), and `does`, `looks`, `it` agreeing in number."""
    name = readable_name(class_name)
    does, looks, it = ("do", "look", "them") if is_plural(name) else ("does", "looks", "it")
    return {"name": name, "a_name": with_article(name), "does": does, "looks": looks, "it": it}
