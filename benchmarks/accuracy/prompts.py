"""The paper's study of prompts: what the text says of each class, from nothing to several answered questions.

    python -m benchmarks.accuracy.prompts --fold 0           # all rows of a fold, with table and figure

The row "CAAN" has the shipped answers to the prompts' questions. SmolLM2's own are in `smollm2_sketchy.jsonl`, made by
`caan describe` (the README has the command); the row is left out where that file is not there.
"""

from pathlib import Path

from benchmarks.accuracy.rows import CAAN, WITHOUT_TEXT, own_results, trained
from benchmarks.accuracy.study import HERE, Run, build_caan, parse_study, run_study
from benchmarks.accuracy.summary import draw_bars, write_table
from caan.descriptions import load_prompt_set
from caan.descriptions.names import readable_name
from dataset_scripts import read_descriptions

SMOLLM2 = HERE / "smollm2_sketchy.jsonl"


def class_names(run: Run) -> tuple:
    """The bare names are the text."""
    return build_caan(run, {name: [readable_name(name)] for name in run.names})


def plain_template(run: Run) -> tuple:
    """CLIP's template is the text."""
    prompts = load_prompt_set("plain")
    return build_caan(run, {name: [prompts.question(key, name) for key in prompts.prompts] for name in run.names})


def smollm2(run: Run) -> tuple:
    """Answers of a language model of 135 million parameters to the same questions."""
    return build_caan(run, read_descriptions(str(SMOLLM2)))


ROWS = [
    WITHOUT_TEXT,
    trained("text: class name only", class_names, whitened=True),
    trained("text: plain template", plain_template, whitened=True),
    trained("text: answers of SmolLM2-135M", smollm2, whitened=True),
    CAAN,
]


def show(results: list[dict], path: Path) -> None:
    order = [row.name for row in ROWS]
    write_table(own_results(results), order, path, "CAAN")
    draw_bars(own_results(results), order, path)


if __name__ == "__main__":
    run_study("prompts", [row for row in ROWS if row.build is not smollm2 or SMOLLM2.exists()], parse_study(__doc__), show)
