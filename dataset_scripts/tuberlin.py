"""TU-Berlin (Extended): 250 classes, 80 sketches each, 204,489 photos.

    from dataset_scripts import load
    splits = load("tuberlin", config="220_30", data_dir="TUBerlin")

    # or, with datasets < 4 and this package installed:
    load_dataset("dataset_scripts/tuberlin.py", "220_30", data_dir="TUBerlin", trust_remote_code=True)

    python -m dataset_scripts.tuberlin --data_dir TUBerlin --allow_partial  # folder check and split sizes

Configs:

- ``220_30`` (default): 30 unseen classes of SAKE and ZSE-SBIR, each with at least 400 photos (2,400 sketches against
  27,989 photos).
- ``220_30_sempcyc``: 30 unseen classes of sem-pcyc, used by MA-ZS-SBIR too. The lists share one class; results do
  not compare.

The photo archive writes class names without spaces and misspells some (``tromobone``, ``griaffe``,
``wristwatching``); they are read as they are, and so are folders that doodle2search's script renamed.
"""

from dataset_scripts.core.builder import ZeroShotBuilder, ZeroShotConfig
from dataset_scripts.core.layouts import Benchmark, Source

TUBERLIN = Benchmark(
    name="tuberlin",
    title="TU-Berlin",
    sources=(
        Source("sketches", "sketch", ("png_ready", "png", "sketches"), expected=20_000),
        Source("photos", "photo", ("ImageResized_ready", "ImageResized", "images"), expected=204_489),
    ),
    prefixes=("", "TUBerlin", "TU-Berlin"),
    # Folders of the photo archive whose names differ by more than spaces and punctuation: the ones that doodle2search's
    # script renames.
    aliases={
        "chandeler": "chandelier",
        "diamod": "diamond",
        "griaffe": "giraffe",
        "mouse": "mouse (animal)",
        "pipe": "pipe (for smoking)",
        "spacesshuttle": "space shuttle",
        "spidar": "spider",
        "tromobone": "trombone",
        "wristwatching": "wrist-watch",
    },
    validation_sketches=10,
    home=(
        "How Do Humans Sketch Objects?, https://cybertron.cg.tu-berlin.de/eitz/projects/classifysketch (sketches, PNG); "
        "the extended photos come from SketchNet (Zhang et al., CVPR 2016); SAKE, github.com/qliu24/SAKE, has both resized"
    ),
    license_note=(
        "Sketches: Creative Commons Attribution 4.0. The photos come from ImageNet and the web: research use, rights stay "
        "with their owners."
    ),
    citation="""@article{eitz2012hdhso,
  author  = {Eitz, Mathias and Hays, James and Alexa, Marc},
  title   = {How Do Humans Sketch Objects?},
  journal = {ACM Transactions on Graphics (SIGGRAPH)},
  year    = {2012}
}""",
)


class TUBerlin(ZeroShotBuilder):
    """TU-Berlin's zero-shot splits."""

    BUILDER_CONFIGS = [
        ZeroShotConfig(name="220_30", benchmark=TUBERLIN, description="220 seen and 30 unseen classes of SAKE and ZSE-SBIR"),
        ZeroShotConfig(name="220_30_sempcyc", benchmark=TUBERLIN, description="220 seen and 30 unseen classes of sem-pcyc"),
    ]
    DEFAULT_CONFIG_NAME = "220_30"


if __name__ == "__main__":
    from dataset_scripts.core.cli import main

    main(TUBerlin)
