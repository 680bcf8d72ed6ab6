"""`caan export`: the inference towers as ONNX or torch.export files, checked against the model that they came from.

A graph that merely runs proves nothing, so each kind is compared with the model on real pictures (largest difference, lowest
cosine), and its retrieval score on unseen classes stands beside the original's. `export.json` in the folder keeps all of it.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from dataclasses import dataclass, field
from typing import Literal

from caan.cli import parse_options
from caan.export import OPSET
from caan.options import SourceOptions, option
from caan.stopping import exit_status, terminable

DESCRIPTION = """\
Write a model's sketch and photo tower as graphs with a dynamic batch (one graph where they are shared), compare them with the
model, and measure the retrieval score of each on a data set. The folder gets all of it or, after an error or a stop, nothing.
"""
EXAMPLES = """\
examples:
  # ONNX, scored on the unseen classes of the embedded drawings
  caan export --model outputs/demo --output_dir outputs/onnx

  # and its int8 form, for CPUs
  caan export --model outputs/demo --output_dir outputs/onnx --int8

  # torch.export: programs that torch.export.load runs without this package
  caan export --model outputs/demo --output_dir outputs/pt2 --format torch

  # scored on 2,000 sketches and 2,000 photos of another data set
  caan export --model org/caan-sketchy --output_dir onnx --dataset sketchy --data_dir Sketchy --max_pictures 2000

ONNX needs pip install -e ".[export]". In Python: caan.export.runtime.load_exported("outputs/onnx", "onnx_int8").

exit status: 0 done; 1 bad input, or a graph that does not agree with the model; 2 wrong options; 130 Ctrl-C, 143 SIGTERM.
"""


@dataclass(kw_only=True)
class ExportOptions(SourceOptions):
    """Options of `caan export`; those of the data are the other commands'."""

    model: str = field(metadata={"help": "Hub id or folder of a CAAN."})
    output_dir: str = field(metadata={"help": "Folder for the graphs, the image processor and export.json."})
    revision: str | None = option(None, "Branch, tag or commit of model on the Hub.")
    format: Literal["onnx", "torch"] = option("onnx", "Kind of graph.")
    int8: bool = option(False, "Also an int8 form of the ONNX graphs, for CPUs.")
    calibration_pictures: int = option(
        64, "Sketches, and photos, of seen classes that give the ranges of an int8 graph with convolutions: 1 or more."
    )
    int8_min_cosine: float = option(
        0.95, "The export fails where a vector of an int8 graph has a lower cosine with the model's: -1 to 1."
    )
    opset: int = option(OPSET, "ONNX operator set: 18 or more.")
    dataset: str = option("openmoji", "Builder, Hub id or folder whose unseen classes give the score; none = no score.")
    max_pictures: int = option(0, "Most sketches, and photos, that are compared; 0 = all.")
    batch_size: int = option(64, "Pictures encoded at once: 1 or more.")
    num_workers: int = option(2, "Processes that read pictures: 0 or more.")

    def __post_init__(self):
        least = {"calibration_pictures": 1, "int8_min_cosine": -1, "opset": OPSET, "max_pictures": 0}
        for name, value in (least | {"batch_size": 1, "num_workers": 0}).items():
            if not getattr(self, name) >= value:  # NaN too
                raise ValueError(f"--{name} must be at least {value}, got {getattr(self, name)}.")
        if self.int8_min_cosine > 1:
            raise ValueError(f"--int8_min_cosine must be at most 1, got {self.int8_min_cosine}.")
        if self.int8 and self.format != "onnx":
            raise ValueError("--int8 is a form of the ONNX graphs: use --format onnx with it.")


def main(argv: list[str], prog: str) -> int:
    """Runs the command; returns the exit status."""
    try:
        options = parse_options(ExportOptions, argv, prog, DESCRIPTION, EXAMPLES)
    except ValueError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    with terminable():
        try:
            from caan.export.export import export, summary  # loads PyTorch, which --help does without

            report = export(options)
        except (ValueError, OSError, ImportError) as error:
            if os.environ.get("CAAN_TRACEBACK"):
                traceback.print_exc()
            print(f"{prog}: {explained(error, options.output_dir)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt as stop:
            print(f"\n{prog}: stopped; {options.output_dir} is as it was. Run the same command again.", file=sys.stderr)
            return exit_status(stop)
    print(f"\n{summary(report)}\n\nwritten: {options.output_dir}")
    return 0


def explained(error: Exception, output_dir: str) -> str:
    """The message of an error on one line, with the cure where the disk is full."""
    message = " ".join(str(error).split())
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{message}. Free some space or choose another --output_dir; {output_dir} is as it was." if full else message
