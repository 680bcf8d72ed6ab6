"""The loop and the file of caan.descriptions: a line a class and prompt, never lost, never twice.

Run: python -m pytest tests/descriptions/test_descriptions.py
"""

import json
import multiprocessing
import os
import signal

import pytest

from caan.descriptions import (
    Answer,
    DescriptionFile,
    DescriptionFileError,
    PromptSet,
    Verbatim,
    describe,
    load_prompt_set,
    read_descriptions,
    seed_of,
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
