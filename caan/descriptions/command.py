"""`caan describe`: the Description Generation Module on the command line."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, field, replace
from typing import Literal

from caan.errors import USER_ERRORS, exit_on_error, explain
from caan.options import COUNT, NOT_NEGATIVE, SHARE_ABOVE_ZERO, Options, Range, option
from caan.parsing import OptionParser

from .backends import Backend, BackendError, Verbatim
from .classes import checked_classes, read_class_list, split_classes
from .generation import Report, describe
from .prompts import PromptSet, load_prompt_set

DESCRIPTION = """\
Ask a language model how each class looks, and write the answers to a JSON Lines file, a line a class and prompt.
Run the same command again after a stop: it goes on where it was, and nothing is asked or written twice.
"""
EXAMPLES = """\
examples:
  # five questions about each of Sketchy's 104 seen classes, answered by a model from the Hub
  caan describe --output sketchy.jsonl --dataset sketchy --dataset_config 104_21 --model HuggingFaceTB/SmolLM2-1.7B-Instruct

  # a GGUF file on this machine (pip install -e ".[descriptions]")
  caan describe --output birds.jsonl --classes owl,swan,duck --model models/SmolLM2-135M-Instruct.Q4_1.gguf

  # any server that speaks the chat-completion protocol: vLLM, llama.cpp, Ollama, `transformers serve`
  caan describe --output mine.jsonl --classes_file classes.txt --model qwen3 --base_url http://localhost:8000/v1

  # a paid service; its key is read from the environment and is written nowhere
  caan describe --output mine.jsonl --classes_file classes.txt --model gpt-4.1-mini \\
      --base_url https://api.openai.com/v1 --api_key_env OPENAI_API_KEY

  # a Hub provider, with the login of `hf auth login`
  caan describe --output mine.jsonl --classes_file classes.txt --model Qwen/Qwen3-8B --provider auto

  # "a photo of a X": no language model at all; and one's own questions
  caan describe --output plain.jsonl --classes owl,swan --prompt_set plain
  caan describe --output own.jsonl --classes owl,swan --prompt_set my_questions.yaml --model ...

one's own prompt set is a YAML file; {name}, {a_name}, {does}, {looks}, {it} agree with the class:
  system: Answer in one sentence.
  prompts:
    colour: Which colours {does} {a_name} have?

exit status: 0 all described; 1 some answers failed their checks (they are listed, the good lines stay); 2 wrong options,
a broken file, or a back end that cannot go on; 130 stopped with Ctrl-C, 143 by SIGTERM.
"""


@dataclass(kw_only=True)
class DescribeOptions(Options):
    """Options of `caan describe`."""

    output: str = field(metadata={"help": "JSON Lines file to write or to go on with."})
    prompt_set: str = option("interrogative", "interrogative, cupl, plain, or the path of a YAML file of your own.")
    classes: str | None = option(None, "Class names, with commas between them.")
    classes_file: str | None = option(None, "Text file with one class name a line.")
    dataset: str | None = option(None, "Benchmark to take classes from: sketchy, tuberlin, quickdraw.")
    dataset_config: str | None = option(None, "Zero-shot split of dataset, such as 104_21.")
    split: Literal["train", "test", "all"] = option(
        "train", "Seen classes (train; text is for training alone), unseen ones, or all."
    )
    model: str | None = option(None, "Hub id, folder or .gguf file of a local model; or a model's name at the service.")
    gguf_file: str | None = option(None, "Name of the GGUF file in model's repository.")
    revision: str = option("main", "Branch, tag or commit of model on the Hub.")
    device: str | None = option(None, "Device of a local model; none = the fastest there is.")
    dtype: str = option("auto", "Number type of a local model: float32, bfloat16, ...")
    base_url: str | None = option(None, "OpenAI-style server, http://host:port/v1.")
    provider: str | None = option(None, "Hub inference provider, or auto.")
    api_key_env: str | None = option(None, "Environment variable that holds the service's key.")
    timeout: float = option(60.0, "Seconds to wait for a service's answer.", Range(0, above=True))
    retries: int = option(5, "Repeats of a request after a 429, 5xx, time-out or broken answer.", NOT_NEGATIVE)
    seed: int = option(0, "Seed of the run.", NOT_NEGATIVE)
    tries: int = option(3, "Answers to ask for before a class and prompt is given up.", COUNT)
    batch_size: int = option(8, "Questions asked together (requests side by side, for a service).", COUNT)
    temperature: float | None = option(None, "Sampling temperature, 0 is greedy; none = the set's.", NOT_NEGATIVE)
    top_p: float | None = option(None, "Share of probability to sample from; none = the set's.", SHARE_ABOVE_ZERO)
    max_new_tokens: int | None = option(None, "Longest answer in tokens; none = the set's.", COUNT)


def main(argv: list[str], prog: str) -> int:
    """Run the command with `argv`; returns the exit status."""
    (options,) = OptionParser((DescribeOptions,), prog=prog, description=DESCRIPTION, epilog=EXAMPLES).fill(argv)
    logging.basicConfig(format="%(message)s")
    with exit_on_error(prog, f"the same command goes on from {options.output}"):
        try:
            report = _run(options)
        except (*USER_ERRORS, BackendError) as error:
            if os.environ.get("CAAN_TRACEBACK"):
                raise
            message = " ".join((explain(error) or str(error)).split())
            nameless = isinstance(error, OSError) and error.filename is None
            print(f"{prog}: {f'{options.output}: ' if nameless else ''}{message}", file=sys.stderr)
            return 2
    _print_report(report, options)
    return 1 if report.failures else 0


def _run(options: DescribeOptions) -> Report:
    classes = _classes(options)
    prompt_set = load_prompt_set(options.prompt_set)
    overrides = {name: getattr(options, name) for name in ("temperature", "top_p", "max_new_tokens")}
    return describe(
        classes,
        prompt_set,
        _backend(options, prompt_set),
        options.output,
        seed=options.seed,
        tries=options.tries,
        batch_size=options.batch_size,
        generation=replace(prompt_set.generation, **{k: v for k, v in overrides.items() if v is not None}),
    )


class OptionError(ValueError):
    """Options that do not go together."""


def _classes(options: DescribeOptions) -> list[str]:
    given = [name for name in ("classes", "classes_file", "dataset") if getattr(options, name)]
    if len(given) != 1:
        raise OptionError("give the classes by one of --classes, --classes_file, --dataset (with --dataset_config)")
    if options.classes:
        return checked_classes(options.classes.split(","), "--classes")
    if options.classes_file:
        return read_class_list(options.classes_file)
    if not (options.dataset and options.dataset_config):
        raise OptionError("--dataset needs --dataset_config, the zero-shot split, such as 104_21")
    splits = ("train", "test") if options.split == "all" else (options.split,)
    return split_classes(options.dataset, options.dataset_config, splits)


def _backend(options: DescribeOptions, prompt_set: PromptSet) -> Backend:
    if prompt_set.direct:
        return Verbatim()
    if not options.model:
        raise OptionError(f"the prompt set {prompt_set.name} asks a language model: give --model")
    if not (options.base_url or options.provider):
        from .local import LocalBackend  # transformers takes seconds to import

        return LocalBackend(options.model, options.gguf_file, options.device, options.dtype, options.revision)
    from .chat import ChatBackend

    key = None
    if options.api_key_env and not (key := os.environ.get(options.api_key_env)):
        raise OptionError(f"the environment variable {options.api_key_env} is not set")
    return ChatBackend(options.model, options.base_url, options.provider, key, timeout=options.timeout, retries=options.retries)


def _print_report(report: Report, options: DescribeOptions) -> None:
    print(f"{options.output}: {report.written} descriptions written, {report.found} were there before", file=sys.stderr)
    if not report.failures:
        return
    print(f"{len(report.failures)} without a good answer in {options.tries} tries:", file=sys.stderr)
    for failure in report.failures:
        text = f": {failure.text[:120]!r}" if failure.text else ""
        print(f"  {failure.class_name} / {failure.prompt}: {failure.reason}{text}", file=sys.stderr)
    print("Run again with more --tries, another --seed or a larger model; the good lines are kept.", file=sys.stderr)
