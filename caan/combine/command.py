"""Make one model of several that are trained.

    caan combine outputs/vit outputs/cnn --output_dir outputs/both                      # equal shares
    caan combine outputs/vit outputs/cnn --weights 1 0.5 --output_dir outputs/both      # the first counts twice as much
    caan combine outputs/vit org/caan-sketchy --output_dir outputs/both                 # folders and Hub ids
    caan eval --model outputs/both outputs/vit outputs/cnn                              # what it brings

The cosine of a sketch and a photo is then the mean of the members' cosines, by weight. Backbones, input sizes and whitening may
differ: each member sees the picture as its own processor makes it. The folder is used as that of one model is. A search costs
what all members cost together, which the card tells. A combined model is not trained on; as a member it counts as its members.
Text encoders and alignment are left out. The folder gets all of it or, after an error or a stop, is not made.

exit status: 0 done; 1 bad input; 2 wrong options; 130 stopped with Ctrl-C; 143 stopped by SIGTERM.
"""

from caan.errors import exit_on_error
from caan.options import CombineOptions
from caan.parsing import OptionParser


def main(argv: list[str], prog: str) -> int:
    """Runs the command; returns the exit status."""
    parser = OptionParser((CombineOptions,), prog=prog, description=__doc__)
    parser.add_argument("models", metavar="MODEL", nargs="+", help="two or more folders or Hub ids of CAANs")
    options, given = parser.fill(argv)
    with exit_on_error(prog, f"{options.output_dir} was not made; run the same command again"):
        from transformers.utils.logging import disable_progress_bar

        from caan.combine.combine import combine  # imports torch
        from caan.evaluation.combination import member_table

        disable_progress_bar()  # of reading and writing weights
        combination = combine(given.models, options, [prog, *argv])
    print(f"{member_table(combination)}\n\nwritten: {options.output_dir}")
    return 0
