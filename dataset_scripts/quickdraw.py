"""QuickDraw-Extended: 110 classes, about 330,000 drawings and 204,000 photos.

    from dataset_scripts import load
    splits = load("quickdraw", data_dir="QuickDraw")

    # or, with datasets < 4 and this package installed:
    load_dataset("dataset_scripts/quickdraw.py", "80_30", data_dir="QuickDraw", trust_remote_code=True)

    python -m dataset_scripts.quickdraw --data_dir QuickDraw --allow_partial  # folder check and split sizes

Config ``80_30``: 30 unseen classes of doodle2search and ZSE-SBIR (92,291 drawings against 54,151 photos); 14 of them
are unseen classes of Sketchy's 104_21 too. The archives write some classes with spaces and some with underscores
(``palm tree``, ``fire_hydrant``); either is read. No list of held-out drawings was published: 50 a seen class are
held out by rule.
"""

from dataset_scripts.core.builder import ZeroShotBuilder, ZeroShotConfig
from dataset_scripts.core.layouts import Benchmark, Source

QUICKDRAW = Benchmark(
    name="quickdraw",
    title="QuickDraw-Extended",
    sources=(
        Source("sketches", "sketch", ("QuickDraw_sketches_final", "QuickDraw_sketches", "sketches"), expected=330_000),
        Source("photos", "photo", ("QuickDraw_images_final", "EXTEND_image_quickdraw", "images"), expected=204_000),
    ),
    prefixes=("", "QuickDraw"),
    validation_sketches=50,
    home=(
        "Doodle to Search (Dey et al., CVPR 2019), github.com/sounakdey/doodle2search: QuickDraw_sketches_final.zip and "
        "QuickDraw_images_final.zip"
    ),
    license_note=(
        "Drawings: Quick, Draw!, Creative Commons Attribution 4.0. The photos come from Flickr: rights stay with their owners."
    ),
    citation="""@inproceedings{dey2019doodle,
  author    = {Dey, Sounak and Riba, Pau and Dutta, Anjan and Llados, Josep and Song, Yi-Zhe},
  title     = {Doodle to Search: Practical Zero-Shot Sketch-based Image Retrieval},
  booktitle = {CVPR},
  year      = {2019}
}""",
)


class QuickDraw(ZeroShotBuilder):
    """QuickDraw-Extended's zero-shot split."""

    BUILDER_CONFIGS = [
        ZeroShotConfig(name="80_30", benchmark=QUICKDRAW, description="80 seen and 30 unseen classes of doodle2search"),
    ]
    DEFAULT_CONFIG_NAME = "80_30"


if __name__ == "__main__":
    from dataset_scripts.core.cli import main

    main(QuickDraw)
