"""What is asked and what is kept: names, prompt sets, class lists, checks.

Run: python -m pytest tests/descriptions/test_description_text.py
"""

import json
from importlib import resources

import pytest

from caan.descriptions import (
    Checks,
    ClassListError,
    PromptSetError,
    load_prompt_set,
    read_class_list,
    readable_name,
    review,
    shipped_prompt_sets,
    split_classes,
    with_article,
)

# names


@pytest.mark.parametrize(
    "spelling, expected",
    [
        ("airplane", "an airplane"),
        ("hot-air_balloon", "a hot-air balloon"),
        ("car_(sedan)", "a sedan car"),
        ("car (sedan)", "a sedan car"),
        ("bear (animal)", "a bear (animal)"),
        ("hourglass", "an hourglass"),
        ("unicycle", "a unicycle"),
        ("umbrella", "an umbrella"),
        ("suv", "an SUV"),
        ("tv", "a TV"),
        ("UFO", "a UFO"),
        ("bus", "a bus"),
        ("octopus", "an octopus"),
        ("wineglass", "a wineglass"),
        ("rhinoceros", "a rhinoceros"),
        ("scissors", "scissors"),
        ("eyeglasses", "eyeglasses"),
        ("trousers", "trousers"),
        ("head-phones", "headphones"),
        ("bread", "bread"),
        ("eiffel tower", "the Eiffel Tower"),
        ("santa claus", "Santa Claus"),
        ("The Mona Lisa", "The Mona Lisa"),
    ],
)
def test_readable_name_with_its_article(spelling, expected):
    assert with_article(readable_name(spelling)) == expected


def test_questions_agree_with_plural_names():
    prompts = load_prompt_set("interrogative")
    assert prompts.question("appearance", "scissors") == "What do scissors look like?"
    assert prompts.question("difference", "scissors") == "How do scissors differ from the things that look most like them?"
    assert prompts.question("difference", "owl") == "How does an owl differ from the things that look most like it?"
    assert load_prompt_set("cupl").question("describe", "trousers") == "Describe what trousers look like."


# prompt sets


def test_shipped_sets():
    assert shipped_prompt_sets() == ["cupl", "interrogative", "plain"]
    interrogative = load_prompt_set("interrogative")
    assert list(interrogative.prompts) == ["appearance", "parts", "outline", "surface", "difference"]
    assert all(interrogative.question(p, "owl").endswith("?") for p in interrogative.prompts)
    assert load_prompt_set("plain").direct and not interrogative.direct


def test_a_prompt_set_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("prompts:\n  colour: Which colours {does} {a_name} have?\nchecks: {min_words: 1}\n", encoding="utf-8")
    mine = load_prompt_set(path)
    assert (mine.name, mine.system, mine.checks) == ("mine", "", Checks(min_words=1))
    assert mine.question("colour", "owl") == "Which colours does an owl have?"


@pytest.mark.parametrize(
    "content, said",
    [
        ("prompts: []", "needs `prompts:`"),
        ("prompts: {a: 'What is {thing}?'}", r"asks for \['thing'\]; known are name, a_name"),
        ("prompts: {a: 'What does it look like?'}", "does not name the class"),
        ("prompts: {a: 'What is {name?'}", "prompt a"),
        ("prompts:\n  a: What is {name}?\n  a: Where is {name}?", "'a'] stands twice"),
        ("prompts: {a: 'What is {name}?'}\nsytem: x", "unknown key sytem"),
        ("prompts: {a: 'What is {name}?'}\nchecks: {min_words: many}", "min_words must be a number"),
        ("prompts: {a: 'What is {name}?'}\ngeneration: {top_k: 5}", "`generation` takes temperature, top_p"),
        (
            "prompts: {a: 'What is {name}?'}\nchecks: {max_sentences: 1.5}",
            "max_sentences must be a whole number, at least 1",
        ),
        ("prompts: {a: 'What is {name}?'}\nchecks: {min_words: -1}", "min_words must be a whole number, at least 0, got -1"),
        ("prompts: {a: 'What is {name}?'}\ngeneration: {temperature: .nan}", "temperature must be at least 0, got nan"),
        ("prompts: {a: 'What is {name}?'}\ngeneration: {top_p: 0}", r"top_p must be in \(0, 1\], got 0"),
        (
            "prompts: {a: 'What is {name}?'}\ngeneration: {max_new_tokens: 0}",
            "max_new_tokens must be a whole number",
        ),
        ("prompts: {a: 'What is {name}?'}\nsystem: [a]", r"`system` must be a text, not \['a'\]"),
        ("prompts: {a: 'What is {name}?'}\ndirect: 'false'", "`direct` must be true or false, not 'false'"),
        ("prompts: {a: [1, 2]}", "must be a name and a text"),
        ("prompts: {a: ", "cannot be read as YAML"),
    ],
)
def test_a_broken_prompt_set_is_named(tmp_path, content, said):
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PromptSetError, match=said) as error:
        load_prompt_set(path)
    assert str(path) in str(error.value)


def test_an_unknown_prompt_set_lists_the_known_ones():
    with pytest.raises(PromptSetError, match="no prompt set poetic: take one of cupl, interrogative, plain"):
        load_prompt_set("poetic")


# class lists


def test_class_list_of_a_file(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xef\xbb\xbfowl\r\n\r\n hot-air_balloon \r\ncar_(sedan)")
    assert read_class_list(path) == ["owl", "hot-air_balloon", "car_(sedan)"]


@pytest.mark.parametrize(
    "content, said", [(b"owl\nswan\nowl\n", "names owl twice"), (b" \n", "names no class"), (b"\xff\xfe", "is not UTF-8 text")]
)
def test_a_broken_class_list_is_named(tmp_path, content, said):
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    with pytest.raises(ClassListError, match=said) as error:
        read_class_list(path)
    assert str(path) in str(error.value)


def test_classes_of_a_benchmark():
    seen, unseen = split_classes("sketchy", "104_21"), split_classes("sketchy", "104_21", ("test",))
    assert (len(seen), len(unseen)) == (104, 21)
    assert split_classes("sketchy", "104_21", ("train", "test")) == seen + unseen
    assert "hot-air_balloon" in seen and not set(seen) & set(unseen)
    with pytest.raises(ClassListError, match="no class list sketchy_99_1_train.txt; .*sketchy_104_21"):
        split_classes("sketchy", "99_1")


# checks

QUESTION = "What does an owl look like?"


@pytest.mark.parametrize(
    "answer, complete, kept, reason",
    [
        ("An owl has a round head. It has big eyes. It flies.", True, "An owl has a round head. It has big eyes.", None),
        ('"An owl has a round head and two large eyes"', True, "An owl has a round head and two large eyes.", None),
        ("<think>An owl?</think>\n\nAn owl has a **round** head.", True, "An owl has a round head.", None),
        ("- A round head.\n- Two big eyes.", True, "A round head. Two big eyes.", None),
        (
            "Answer: A bird with a round head, about 1.5 feet tall.",
            True,
            "A bird with a round head, about 1.5 feet tall.",
            None,
        ),
        ("An owl has a round head. Its beak is sh", False, "An owl has a round head.", None),
        ("An owl has a round head and a beak that is", False, None, "cut off"),
        ("<think>An owl is a bird with", False, None, "empty"),
        ("  \n ", True, None, "empty"),
        ("I'm sorry, but I can’t describe round owls.", True, None, "refuses"),
        ("As an AI language model, I have no eyes to see colours.", True, None, "refuses"),
        ("What does an owl look like? It has a round head.", True, None, "repeats the prompt"),
        ("An owl looks like an owl.", True, None, "repeats the prompt"),
        ("Do you want the head or the wings in white?", True, None, "asks a question"),
        ("Round head.", True, None, "too short"),
        ("white wing " * 12, True, None, "repeats itself"),
        ("Owls hunt mice at night and are wise in many old stories.", True, None, "not about looks"),
        ("When I was young I loved its round head and white wings.", True, None, "not about looks"),
    ],
)
def test_review(answer, complete, kept, reason):
    text, found = review(answer, QUESTION, complete, Checks(min_words=4, min_visual_words=2, max_sentences=2))
    assert found == reason
    if kept is not None:
        assert text == kept


def test_checks_can_be_switched_off_for_another_language():
    answer = "Eine Eule hat einen runden Kopf."
    assert review(answer, "Wie sieht eine Eule aus?", True, Checks())[1] == "not about looks"
    assert review(answer, "Wie sieht eine Eule aus?", True, Checks(min_visual_words=0)) == (answer, None)


def test_descriptions_known_to_be_good_pass():
    """The rules must not throw away what they are made to keep: at most 1 in 200 of the shipped descriptions."""
    prompts = load_prompt_set("interrogative")
    lines = (resources.files("dataset_scripts") / "descriptions" / "benchmarks.jsonl").read_text(encoding="utf-8").splitlines()
    refused = []
    for line in map(json.loads, lines):
        question = prompts.question(line["prompt"], line["concept"])
        text, reason = review(line["text"], question, True, prompts.checks)
        refused += [(line["text"], reason)] if reason or text != line["text"] else []
    assert len(lines) > 1000
    assert len(refused) <= len(lines) / 200, refused


@pytest.mark.parametrize(
    "question, answer",
    [
        ("outline", "The outline of a teapot can be drawn in a simple line sketch using only a few lines."),
        ("surface", "The colors and textures of a teapot, as seen in a photo, are a mix of the various materials used."),
        ("difference", "A teapot differs from the things that look most like it in its appearance, its shape and its parts."),
    ],
)
def test_words_of_the_question_are_no_evidence(question, answer):
    """Answers that SmolLM2-135M gave."""
    prompts = load_prompt_set("interrogative")
    assert review(answer, prompts.question(question, "teapot"), True, prompts.checks)[1] == "not about looks"
