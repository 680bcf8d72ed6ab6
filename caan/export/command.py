"""`caan export`: the inference towers as ONNX or torch.export files, checked against the model that they came from.

A graph that merely runs proves nothing, so each kind is compared with the model on real pictures (largest difference, lowest
cosine), and its retrieval score on unseen classes stands beside the original's. `export.json` in the folder keeps all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from caan.errors import exit_on_error
from caan.export import OPSET
from caan.options import COUNT, NOT_NEGATIVE, Range, SourceOptions, option
from caan.parsing import OptionParser

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
        64, "Sketches, and photos, of seen classes that give the ranges of an int8 graph with convolutions.", COUNT
    )
    int8_min_cosine: float = option(
        0.95, "The export fails where a vector of an int8 graph has a lower cosine with the model's.", Range(-1, 1)
    )
    opset: int = option(OPSET, "ONNX operator set.", Range(OPSET))
    dataset: str = option("openmoji", "Builder, Hub id or folder whose unseen classes give the score; none = no score.")
    max_pictures: int = option(0, "Most sketches, and photos, that are compared; 0 = all.", NOT_NEGATIVE)
    batch_size: int = option(64, "Pictures encoded at once.", COUNT)
    num_workers: int = option(2, "Processes that read pictures.", NOT_NEGATIVE)

    def __post_init__(self):
        super().__post_init__()
        if self.int8 and self.format != "onnx":
            raise ValueError("int8 is a form of the ONNX graphs: use format onnx with it.")


def main(argv: list[str], prog: str) -> int:
    """Runs the command; returns the exit status."""
    (options,) = OptionParser((ExportOptions,), prog=prog, description=DESCRIPTION, epilog=EXAMPLES).fill(argv)
    with exit_on_error(prog, f"{options.output_dir} is as it was; run the same command again"):
        from caan.export.export import export, summary  # imports torch

        report = export(options)
    print(f"\n{summary(report)}\n\nwritten: {options.output_dir}")
    return 0
