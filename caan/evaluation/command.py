"""Evaluate retrievers on a zero-shot benchmark.

    caan eval --model outputs/openmoji                                       # unseen classes of the embedded set
    caan eval --model outputs/openmoji facebook/dinov2-small pixels          # beside baselines without training
    caan eval --model org/caan-sketchy --dataset sketchy --data_dir Sketchy --generalized
    caan eval --model outputs/openmoji --split validation                    # held-out items of seen classes
    caan eval --model outputs/openmoji pixels --update_card                  # and write the model's card anew
    caan eval --model org/caan-sketchy --dataset sketchy --data_dir Sketchy --instance   # does a sketch find its very photo?
    python eval.py --model outputs/openmoji                                  # the same from a checkout

Writes results.json (numbers and all that is needed to get them again), table.md, and a picture of each model's retrieval, after
each model. exit status: 0 done; 1 bad input; 2 wrong options; 130 stopped with Ctrl-C; 143 stopped by SIGTERM.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from caan.errors import exit_on_error
from caan.options import EvalOptions
from caan.parsing import parse_options


def main(argv: list[str], prog: str) -> int:
    """Runs the command; returns the exit status."""
    (options,) = parse_options(EvalOptions, argv=argv, prog=prog, description=__doc__)
    done: list[str] = []
    with exit_on_error(prog, lambda: what_is_kept(options, done)):
        evaluate_models(options, [prog, *argv], done)
    return 0


def evaluate_models(options: EvalOptions, command: Sequence[str], done: list[str]) -> None:
    """Measures each model, prints its numbers, and writes the cards that are asked for; `done` gets the names one by one."""
    from caan.evaluation.run import EvaluationRun  # imports torch
    from caan.evaluation.summary import results_markdown
    from caan.hub.card import carded_folders, update_card
    from dataset_scripts.core.texts import say

    carded = carded_folders(options.model, options.split) if options.update_card else []
    run = EvaluationRun(options, command)
    for name, source in run.names.items():
        queries, gallery = len(run.benchmark.queries), len(run.benchmark.gallery_labels)
        say(f"{source}: {queries:,} queries in a gallery of {gallery:,}")
        say(f"{run.evaluate(name)}\n")
        if name in run.instances:
            say(f"{run.instances[name]}\n")
        done.append(name)
    say(results_markdown(run.record))
    for name, picture in run.pictures.items():
        say(f"picture of {name}: {picture}")
    say(f"results: {run.output / 'results.json'}")
    for name, source in run.names.items():
        if source in carded:
            say(f"card: {update_card(Path(source), run.record.of(name), run.pictures.get(name))}")


def what_is_kept(options: EvalOptions, done: Sequence[str]) -> str:
    """What a stopped run leaves, and how to go on."""
    if not done:
        return "no numbers were written; to go on, run the same command again"
    left = options.model[len(done) :]
    more = f"; to go on, give --model {shlex.join(left)} and another --output_dir" if left else ""
    return f"the numbers of {', '.join(done)} are kept in {options.output_dir}{more}"
