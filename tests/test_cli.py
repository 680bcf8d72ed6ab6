"""The `caan` command. Run: python -m pytest tests/test_cli.py"""

import json
import logging
import os
import re
import subprocess
import sys

import pytest
from chat_server import GOOD, completion, running_server  # noqa: F401 (the fixture `server`)

from caan import cli
from caan.descriptions import load_prompt_set, read_descriptions
from caan.parsing import OptionParser


def caan(*arguments):
    """Exit status, whether the command returns it or argparse raises it."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


def test_help_lists_every_command(capsys):
    assert caan("--help") == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text and purpose in text for name, (_, purpose) in cli.COMMANDS.items())


def test_an_unknown_command_names_the_known_ones(capsys):
    assert caan("draw") == 2
    assert "invalid choice: 'draw' (choose from" in capsys.readouterr().err


def test_help_of_describe_teaches_with_examples_that_parse(capsys):
    from caan.descriptions.command import EXAMPLES, DescribeOptions

    assert caan("describe", "--help") == 0
    assert EXAMPLES.strip() in capsys.readouterr().out
    examples = re.findall(r"^ +caan describe (.*)$", EXAMPLES.replace("\\\n", " "), re.MULTILINE)
    assert len(examples) == 7
    for example in examples:
        (options,) = OptionParser((DescribeOptions,)).fill(example.split())
        assert options.output.endswith(".jsonl")


def test_runs_as_a_module(tmp_path):
    output = tmp_path / "plain.jsonl"
    command = [
        sys.executable,
        "-m",
        "caan.cli",
        "describe",
        "--output",
        output,
        "--classes",
        "owl,scissors",
        "--prompt_set",
        "plain",
    ]
    run = subprocess.run(command, capture_output=True, text=True, cwd=os.path.dirname(os.path.dirname(__file__)))
    assert run.returncode == 0, run.stderr
    assert read_descriptions(output) == {"owl": {"photo": "a photo of an owl"}, "scissors": {"photo": "a photo of scissors"}}
    assert f"{output}: 2 descriptions written, 0 were there before" in run.stderr


def test_describe_through_a_service_shows_its_key_nowhere(server, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setenv("SERVICE_KEY", "sk-secret-123")
    classes, output = tmp_path / "classes.txt", tmp_path / "out.jsonl"
    classes.write_text("owl\ncar_(sedan)\n")
    parts = load_prompt_set("interrogative").question("parts", "car_(sedan)")
    server.replies[parts] = [completion("I'm sorry, I cannot see it."), completion("I cannot tell.")]
    options = ["describe", "--output", output, "--classes_file", classes, "--model", "tiny-chat", "--base_url", server.url]
    with caplog.at_level(logging.DEBUG):
        status = caan(*options, "--api_key_env", "SERVICE_KEY", "--tries", 2)
    said = capsys.readouterr()
    assert status == 1
    assert "9 descriptions written" in said.err
    assert "1 without a good answer in 2 tries:\n  car_(sedan) / parts: refuses: 'I cannot tell.'" in said.err
    assert {line["text"] for line in map(json.loads, output.read_text().splitlines())} == {GOOD}
    assert {key for _, key, _ in server.seen} == {"Bearer sk-secret-123"}
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "sk-secret-123" not in written + said.out + said.err + caplog.text
    assert caan(*options, "--api_key_env", "SERVICE_KEY") == 0  # goes on with the one that is missing
    assert len(server.seen) == 10 + 1 + 1
    assert len(output.read_text().splitlines()) == 10


def test_a_refused_key_is_told_in_one_line(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SERVICE_KEY", "sk-secret-123")
    question = load_prompt_set("interrogative").question("appearance", "owl")
    server.replies[question] = [(401, {}, b'{"error": "bad key sk-secret-123"}')]
    options = ["--classes", "owl", "--model", "m", "--base_url", server.url, "--api_key_env", "SERVICE_KEY", "--batch_size", 1]
    assert caan("describe", "--output", tmp_path / "out.jsonl", *options) == 2
    assert capsys.readouterr().err.endswith("caan describe: the service refused: HTTP 401 bad key <key>\n")


@pytest.mark.parametrize(
    "options, said",
    [
        ([], "give the classes by one of --classes, --classes_file, --dataset"),
        (["--classes", "owl", "--dataset", "sketchy"], "give the classes by one of"),
        (["--dataset", "sketchy"], "--dataset needs --dataset_config"),
        (["--dataset", "sketchy", "--dataset_config", "9_9"], "no class list sketchy_9_9_train.txt"),
        (["--classes", "owl,,owl"], "--classes: names owl twice"),
        (["--classes_file", "none.txt"], "none.txt: cannot be read"),
        (["--classes", "owl"], "the prompt set interrogative asks a language model: give --model"),
        (["--classes", "owl", "--prompt_set", "none.yaml"], "no prompt set none.yaml"),
        (["--classes", "owl", "--model", "m", "--tries", "0"], "tries must be at least 1, got 0."),
        (["--classes", "owl", "--model", "m", "--top_p", "1.5"], "top_p must be in (0, 1], got 1.5."),
        (["--classes", "owl", "--model", "m", "--provider", "auto", "--api_key_env", "NO_SUCH"], "variable NO_SUCH is not set"),
        (["--classes", "owl", "--model", "m", "--provider", "auto", "--base_url", "http://x/v1"], "name two services"),
        (["--classes", "owl", "--model", "no_such_model"], "no_such_model: cannot be loaded as a causal language model"),
    ],
)
def test_wrong_options_are_told_and_nothing_is_written(tmp_path, capsys, options, said):
    output = tmp_path / "new" / "out.jsonl"
    assert caan("describe", "--output", output, *options) == 2
    error = capsys.readouterr().err
    assert "caan describe: " in error and said in error and "Traceback" not in error
    assert not output.parent.exists()


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def stop(self, line):
        raise KeyboardInterrupt

    monkeypatch.setattr("caan.descriptions.store.DescriptionFile.append", stop)
    output = tmp_path / "out.jsonl"
    assert caan("describe", "--output", output, "--classes", "owl", "--prompt_set", "plain") == 130
    assert f"caan describe: stopped; the same command goes on from {output}" in capsys.readouterr().err


def test_the_classes_of_a_benchmark(tmp_path):
    output = tmp_path / "out.jsonl"
    options = ["--dataset", "sketchy", "--dataset_config", "104_21", "--prompt_set", "plain"]
    assert caan("describe", "--output", output, *options) == 0
    assert len(read_descriptions(output)) == 104
    assert caan("describe", "--output", output, *options, "--split", "all") == 0
    assert len(read_descriptions(output)) == 125
