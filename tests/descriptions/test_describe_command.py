"""How `caan describe` ends: bad input, full disks, stops.  python -m pytest tests/descriptions/test_describe_command.py"""

import errno
import json
import os
import signal

import pytest

from caan.cli import main
from caan.descriptions import ClassListError, DescriptionFile, read_class_list, read_descriptions, review
from caan.descriptions.backends import BackendError
from caan.descriptions.checks import Checks, tidy
from caan.descriptions.classes import checked_classes

PLAIN = ("--classes", "owl,swan", "--prompt_set", "plain")


def describe(capsys, *options) -> tuple[int, str]:
    """Exit status and what was said, whether the command returns or exits."""
    try:
        status = main(["describe", *map(str, options)])
    except SystemExit as end:
        status = end.code
    return status, capsys.readouterr().err


def told(status, said, expected_status=2) -> str:
    """The last line of an error, which is the whole of it."""
    assert status == expected_status and "Traceback" not in said
    return said.splitlines()[-1]


def test_dataset_config_names_the_split_as_in_every_command(tmp_path, capsys):
    output = tmp_path / "out.jsonl"
    options = ("--dataset", "tuberlin", "--dataset_config", "220_30", "--split", "test", "--prompt_set", "plain")
    assert describe(capsys, "--output", output, *options)[0] == 0
    assert len(read_descriptions(output)) == 30
    status, said = describe(capsys, "--output", output, "--dataset", "tuberlin", "--config", "220_30", "--prompt_set", "plain")
    assert told(status, said).endswith("unknown option 'config', did you mean 'dataset_config'?")


@pytest.mark.parametrize(
    "options, said",
    [
        (["--retries", "-1"], "retries must be at least 0, got -1."),
        (["--batch_size", "0"], "batch_size must be at least 1, got 0."),
        (["--max_new_tokens", "0"], "max_new_tokens must be at least 1, got 0."),
        (["--temperature", "-0.1"], "temperature must be at least 0, got -0.1."),
        (["--temperature", "nan"], "temperature must be at least 0, got nan."),
        (["--timeout", "0"], "timeout must be above 0, got 0.0."),
        (["--seed", "-5"], "seed must be at least 0, got -5."),
        (["--top_p", "0"], "top_p must be in (0, 1], got 0.0."),
    ],
)
def test_numbers_have_a_range(tmp_path, capsys, options, said):
    assert told(*describe(capsys, "--output", tmp_path / "a" / "out.jsonl", *PLAIN, *options)).endswith(f"error: {said}")
    assert not (tmp_path / "a").exists()


def test_an_output_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    line = told(*describe(capsys, "--output", tmp_path / "file" / "out.jsonl", *PLAIN))
    assert line.startswith("caan describe: ") and str(tmp_path / "file") in line
    assert (tmp_path / "file").read_text() == "mine"
    line = told(*describe(capsys, "--output", tmp_path, *PLAIN))
    assert "Is a directory" in line and str(tmp_path) in line


def test_a_full_disk_is_named_and_the_next_run_goes_on(tmp_path, capsys, monkeypatch):
    output, write = tmp_path / "out.jsonl", DescriptionFile._write

    def full(self, data):
        if self.lines:
            self._file.write(data[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, data)

    monkeypatch.setattr(DescriptionFile, "_write", full)
    line = told(*describe(capsys, "--output", output, *PLAIN))
    assert line == f"caan describe: {output}: [Errno 28] No space left on device Free some space on that disk."
    monkeypatch.undo()
    assert describe(capsys, "--output", output, *PLAIN)[0] == 0
    assert read_descriptions(output) == {"owl": {"photo": "a photo of an owl"}, "swan": {"photo": "a photo of a swan"}}


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_keeps_the_lines_and_says_how_to_go_on(tmp_path, capsys, monkeypatch, number, status):
    output, append = tmp_path / "out.jsonl", DescriptionFile.append

    def stop(self, line):
        append(self, line)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(DescriptionFile, "append", stop)
    line = told(*describe(capsys, "--output", output, *PLAIN), status)
    assert line == f"caan describe: stopped; the same command goes on from {output}"
    assert list(read_descriptions(output)) == ["owl"]
    monkeypatch.undo()
    assert describe(capsys, "--output", output, *PLAIN)[0] == 0 and list(read_descriptions(output)) == ["owl", "swan"]


@pytest.mark.parametrize("content", ["{", '{"model_type": "none_of_ours"}', '{"model_type": "llama", "hidden_size": "wide"}'])
def test_a_broken_local_model_is_told_in_one_line(tmp_path, capsys, content):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(content)
    options = ("--classes", "owl", "--model", tmp_path / "model")
    line = told(*describe(capsys, "--output", tmp_path / "out.jsonl", *options))
    assert line.startswith(f"caan describe: {tmp_path / 'model'}: cannot be loaded as a causal language model: ")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_device_that_is_not_there_is_named(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from caan.descriptions import local

    def refuse(device):
        raise RuntimeError("Found no NVIDIA driver on your system.")

    network = SimpleNamespace(eval=lambda: network, to=refuse)
    tokenizer = SimpleNamespace(chat_template="{{ messages }}")
    monkeypatch.setattr(local, "AutoModelForCausalLM", SimpleNamespace(from_pretrained=lambda *a, **k: network))
    monkeypatch.setattr(local, "AutoTokenizer", SimpleNamespace(from_pretrained=lambda *a, **k: tokenizer))
    for device, said in (
        ("cuda", "--device cuda cannot be used: Found no NVIDIA driver"),
        ("gpu", "--device gpu cannot be used"),
    ):
        with pytest.raises(BackendError, match=said):
            local.LocalBackend("m", device=device)


@pytest.mark.parametrize(
    "names, said",
    [
        (["caf\u00e9", "cafe\u0301"], "list: names caf\u00e9 twice"),
        (["ow\udce9"], "list: 'ow\\udce9' is no UTF-8 text"),
    ],
)
def test_names_that_a_file_could_not_hold_or_tell_apart_are_refused(names, said):
    with pytest.raises(ClassListError) as error:
        checked_classes(names, "list")
    assert str(error.value) == said


def test_a_hundred_thousand_classes_are_compared_once_each():
    names = [f"class {number}" for number in range(100_000)]  # each with each took minutes
    assert checked_classes(names, "list") == names


def test_a_class_list_of_windows_is_read(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeffowl\r\nca\u00f1a\r\n\r\n".encode())
    assert read_class_list(tmp_path / "list.txt") == ["owl", "ca\u00f1a"]


def test_half_a_character_of_a_service_is_written(tmp_path):
    text, reason = review("It has a round \ud83d body with two wings.", "How does it look?", True, Checks())
    assert (text, reason) == ("It has a round ? body with two wings.", None) and tidy("\udfff") == "?"
    with DescriptionFile(tmp_path / "out.jsonl") as file:
        file.append({"class": "owl", "prompt": "look", "text": text})
    assert json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))["text"] == text
