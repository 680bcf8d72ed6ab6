"""Names, prompt sets, checks, the file, and the loop of caan.descriptions. Run: python -m pytest tests/test_descriptions.py"""

import json
import multiprocessing
import os
import signal

import pytest

from caan.descriptions import (
    Answer,
    Checks,
    ClassListError,
    DescriptionFile,
    DescriptionFileError,
    PromptSet,
    PromptSetError,
    Verbatim,
    describe,
    load_prompt_set,
    read_class_list,
    read_descriptions,
    readable_name,
    review,
    seed_of,
    shipped_prompt_sets,
    split_classes,
    with_article,
)

CLASSES = ["airplane", "hot-air_balloon", "car_(sedan)", "scissors", "owl"]
GOOD = "It has a round body with two wide wings."


class Scripted:
    """A back end that answers by a function of (question, seed), and keeps what it was asked."""

    model = "scripted"

    def __init__(self, answer, whole_batches=True):
        self.answer, self.whole_batches, self.asked = answer, whole_batches, []

    def ask(self, requests, generation):
        self.asked.append([request.question for request in requests])
        for position, request in enumerate(requests):
            yield position, self.answer(request.question, request.seed)


def fickle(question, seed):
    """Fails two times in three, and says something else with each seed."""
    return Answer(f"{GOOD[:-1]} and {seed} spots." if seed % 3 == 0 else "")


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


# the loop


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_a_class_and_prompt(tmp_path):
    path = tmp_path / "new" / "out.jsonl"
    report = describe(["car_(sedan)"], load_prompt_set("interrogative"), Scripted(lambda q, s: Answer(GOOD)), path, seed=5)
    assert (report.written, report.found, report.failures) == (5, 0, [])
    assert lines_of(path)[1] == {
        "class": "car_(sedan)",
        "prompt": "parts",
        "text": GOOD,
        "prompt_set": "interrogative",
        "model": "scripted",
        "seed": seed_of(5, "car_(sedan)", "parts", 1),
        "attempts": 1,
    }
    assert read_descriptions(path) == {"car_(sedan)": dict.fromkeys(load_prompt_set("interrogative").prompts, GOOD)}


def test_a_direct_set_asks_no_model(tmp_path):
    path = tmp_path / "plain.jsonl"
    describe(CLASSES, load_prompt_set("plain"), Verbatim(), path)
    texts = [line["text"] for line in lines_of(path)]
    assert texts[1:4] == [
        "a photo of a hot-air balloon",
        "a photo of a sedan car",
        "a photo of scissors",
    ]
    assert {(line["model"], line["seed"], line["attempts"]) for line in lines_of(path)} == {(None, None, 0)}


def test_each_attempt_has_a_seed_of_its_own():
    seeds = {seed_of(s, c, p, a) for s in (0, 1) for c in CLASSES for p in ("parts", "outline") for a in (1, 2, 3)}
    assert len(seeds) == 2 * 5 * 2 * 3
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seed_of(0, "owl", "parts", 1) == 374241627  # sha256sum's first 31 bits: the same everywhere


def test_a_failed_answer_is_asked_again_and_reported(tmp_path):
    path = tmp_path / "out.jsonl"
    answers = iter(["", "I am not able to see.", GOOD])
    backend = Scripted(lambda q, s: Answer("" if "parts" in q else next(answers)))
    prompts = PromptSet("two", {"look": "How {does} {a_name} look?", "parts": "Which parts {does} {a_name} have?"})
    report = describe(["owl"], prompts, backend, path, tries=3)
    assert [(line["prompt"], line["attempts"]) for line in lines_of(path)] == [("look", 3)]
    assert [(f.class_name, f.prompt, f.reason) for f in report.failures] == [("owl", "parts", "empty")]
    assert [len(asked) for asked in backend.asked] == [2, 2, 2]


@pytest.mark.parametrize("whole_batches", [True, False])
def test_resumed_from_any_cut_the_file_equals_an_unbroken_one(tmp_path, whole_batches):
    prompts, whole, cut = load_prompt_set("interrogative"), tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    unbroken = describe(CLASSES, prompts, Scripted(fickle, whole_batches), whole, tries=4, batch_size=4)
    data = whole.read_bytes()
    assert 15 < unbroken.written < 25 and len(unbroken.failures) == 25 - unbroken.written
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    for size in [0, 1, *ends, *(end - 1 for end in ends), *(end - 40 for end in ends)]:
        cut.write_bytes(data[:size])
        report = describe(CLASSES, prompts, Scripted(fickle, whole_batches), cut, tries=4, batch_size=4)
        assert cut.read_bytes() == data
        assert report.failures == unbroken.failures
        assert report.found + report.written == unbroken.written


def test_nothing_is_asked_twice(tmp_path):
    path = tmp_path / "out.jsonl"
    describe(CLASSES, load_prompt_set("interrogative"), Scripted(lambda q, s: Answer(GOOD)), path)
    before = path.read_bytes()
    backend = Scripted(lambda q, s: Answer("another"))
    report = describe(CLASSES, load_prompt_set("interrogative"), backend, path, seed=1)
    assert (report.written, report.found, backend.asked) == (0, 25, [])
    assert path.read_bytes() == before


def killed_while_writing(path):
    """Writes eleven lines and a half, then dies by SIGKILL."""
    write = DescriptionFile._write

    def half(self, data):
        if len(self.lines) == 11:
            self._file.write(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, data)

    DescriptionFile._write = half
    describe(CLASSES, load_prompt_set("interrogative"), Scripted(fickle), path, tries=9, progress=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL")
def test_a_killed_process_leaves_whole_lines_and_no_lock(tmp_path):
    prompts, whole, killed = load_prompt_set("interrogative"), tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    describe(CLASSES, prompts, Scripted(fickle), whole, tries=9)
    process = multiprocessing.get_context("fork").Process(target=killed_while_writing, args=(killed,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = killed.read_bytes()
    assert left.count(b"\n") == 11 and not left.endswith(b"\n")
    assert sum(len(prompts) for prompts in read_descriptions(killed).values()) == 11
    assert describe(CLASSES, prompts, Scripted(fickle), killed, tries=9).found == 11
    assert killed.read_bytes() == whole.read_bytes()


# the file


def test_a_torn_last_line_is_dropped_with_a_message(tmp_path, caplog):
    path = tmp_path / "out.jsonl"
    good = b'{"class": "owl", "prompt": "parts", "text": "x"}\n'
    path.write_bytes(good + b'{"class": "owl", "prompt": "outl')
    with DescriptionFile(path) as file:
        assert list(file.lines) == [("owl", "parts")]
    assert path.read_bytes() == good
    assert f"{path}: dropped the last line, torn after 32 bytes" in caplog.text


def test_a_last_line_that_lacks_its_end_alone_is_kept(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"class": "owl", "prompt": "parts", "text": "x"}')
    with DescriptionFile(path) as file:
        file.append({"class": "owl", "prompt": "outline", "text": "é"})
    assert read_descriptions(path) == {"owl": {"parts": "x", "outline": "é"}}


@pytest.mark.parametrize(
    "second, said",
    [
        (b"{broken}", "line 2: not a description"),
        (b'{"class": "owl", "prompt": "outline"}', "line 2: not a description"),
        (b'["owl"]', "line 2: not a description"),
        (b"\xff\xfe", "line 2: not a description"),
        (b'{"class": "owl", "prompt": "parts", "text": "again"}', "line 2: .* stands in the file twice"),
    ],
)
def test_a_broken_line_inside_stops_and_changes_nothing(tmp_path, second, said):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"class": "owl", "prompt": "parts", "text": "x"}\n' + second + b"\n")
    before = path.read_bytes()
    for attempt in (lambda: describe(["owl"], load_prompt_set("plain"), Verbatim(), path), lambda: read_descriptions(path)):
        with pytest.raises(DescriptionFileError, match=said) as error:
            attempt()
        assert str(path) in str(error.value)
    assert path.read_bytes() == before


def test_two_writers_are_refused(tmp_path):
    path = tmp_path / "out.jsonl"
    with DescriptionFile(path) as file:
        file.append({"class": "owl", "prompt": "parts", "text": "x"})
        with pytest.raises(DescriptionFileError, match="another process is writing to it"):
            describe(["owl"], load_prompt_set("plain"), Verbatim(), path)
        file.append({"class": "owl", "prompt": "outline", "text": "y"})
    assert read_descriptions(path) == {"owl": {"parts": "x", "outline": "y"}}
    assert describe(["owl"], load_prompt_set("plain"), Verbatim(), path).written == 1


def test_a_line_is_never_written_twice(tmp_path):
    with DescriptionFile(tmp_path / "out.jsonl") as file:
        file.append({"class": "owl", "prompt": "parts", "text": "x"})
        with pytest.raises(DescriptionFileError, match="already there"):
            file.append({"class": "owl", "prompt": "parts", "text": "y"})
    assert read_descriptions(tmp_path / "out.jsonl") == {"owl": {"parts": "x"}}


def test_a_prompt_of_another_set_is_not_taken_for_this_one(tmp_path):
    path = tmp_path / "out.jsonl"
    describe(["owl"], PromptSet("mine", {"parts": "{name}"}, direct=True), Verbatim(), path)
    with pytest.raises(DescriptionFileError, match="holds prompt 'parts' of the set mine, which interrogative has too"):
        describe(["owl"], load_prompt_set("interrogative"), Scripted(fickle), path)
    assert describe(["owl"], load_prompt_set("plain"), Verbatim(), path).written == 1


def test_reading_an_absent_file_names_the_cure(tmp_path):
    with pytest.raises(DescriptionFileError, match="no such file; `caan describe --output"):
        read_descriptions(tmp_path / "none.jsonl")
