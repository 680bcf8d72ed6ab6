"""Sketchy (Extended): 125 classes, 75,481 sketches, 73,002 photos of which 12,500 are the ones that were sketched.

    from dataset_scripts import load
    splits = load("sketchy", config="104_21", data_dir="Sketchy")

    # or, with datasets < 4 and this package installed:
    load_dataset("dataset_scripts/sketchy.py", "104_21", data_dir="Sketchy", trust_remote_code=True)

    python -m dataset_scripts.sketchy --data_dir Sketchy --dataset_config 104_21 --allow_partial  # folder check and split sizes

Configs:

- ``104_21`` (default): 21 unseen classes that ImageNet-1k lacks (Yelamarthi et al.); every public code base agrees
  on them.
- ``100_25``: 25 unseen classes of SAKE, used by ZSE-SBIR.
- ``100_25_sempcyc``: 25 unseen classes of sem-pcyc. The two lists of 25 share four classes; results on them do not
  compare.
- ``fold_0`` ... ``fold_4``: 84 seen and 20 unseen classes, all of them seen ones of ``104_21``, to choose recipes without a
  look at the real unseen ones (`dataset_scripts.core.folds`; ours).

The published gallery lists the 12,500 original photos twice, once as such and once among the extended photos, under
the same names. One copy is read by default, the extended one; ``duplicates=True`` with ``validation_photos=0`` gives
the published row counts (85,502 photos).

Each sketch was drawn from a photo, whose name it bears; the column ``instance`` holds that name (`dataset_scripts.core.pairs`).
"""

from dataset_scripts.core.builder import ZeroShotBuilder, ZeroShotConfig
from dataset_scripts.core.layouts import Benchmark, Pairing, Source

SKETCHY = Benchmark(
    name="sketchy",
    title="Sketchy",
    sources=(
        Source(
            "sketches",
            "sketch",
            (
                "256x256/sketch/tx_000000000000_ready",
                "256x256/sketch/tx_000000000000",
                "sketch/tx_000000000000_ready",
                "sketch/tx_000000000000",
            ),
            expected=75_481,
        ),
        Source(
            "original photos",
            "photo",
            (
                "256x256/photo/tx_000000000000_ready",
                "256x256/photo/tx_000000000000",
                "photo/tx_000000000000_ready",
                "photo/tx_000000000000",
            ),
            expected=12_500,
            copy_of="extended photos",
        ),
        Source(
            "extended photos",
            "photo",
            ("EXTEND_image_sketchy_ready", "EXTEND_image_sketchy", "extended_photo", "256x256/EXTEND_image_sketchy"),
            expected=73_002,
        ),
    ),
    prefixes=("", "Sketchy"),
    validation_sketches=50,
    pairing=Pairing.ALWAYS,
    home=(
        "The Sketchy Database, http://sketchy.eye.gatech.edu (sketches, and the photos they were drawn from); the "
        "extended photos come from Deep Sketch Hashing (Liu et al., CVPR 2017); SAKE, github.com/qliu24/SAKE, has both "
        "resized"
    ),
    license_note=(
        "The photos come from ImageNet and the web: research use, rights stay with their owners. The sketches: see the "
        "Sketchy Database's home page."
    ),
    citation="""@article{sangkloy2016sketchy,
  author  = {Sangkloy, Patsorn and Burnell, Nathan and Ham, Cusuh and Hays, James},
  title   = {The Sketchy Database: Learning to Retrieve Badly Drawn Bunnies},
  journal = {ACM Transactions on Graphics (SIGGRAPH)},
  year    = {2016}
}""",
)


class Sketchy(ZeroShotBuilder):
    """Sketchy's zero-shot splits."""

    BUILDER_CONFIGS = [
        ZeroShotConfig(
            name="104_21", benchmark=SKETCHY, description="104 seen and 21 unseen classes, those not in ImageNet-1k"
        ),
        ZeroShotConfig(name="100_25", benchmark=SKETCHY, description="100 seen and 25 unseen classes of SAKE and ZSE-SBIR"),
        ZeroShotConfig(name="100_25_sempcyc", benchmark=SKETCHY, description="100 seen and 25 unseen classes of sem-pcyc"),
        *(
            ZeroShotConfig(
                name=f"fold_{number}",
                benchmark=SKETCHY,
                description="84 seen and 20 unseen classes among the 104 seen ones of 104_21, to choose recipes on (ours)",
                published=False,
            )
            for number in range(5)
        ),
    ]
    DEFAULT_CONFIG_NAME = "104_21"


if __name__ == "__main__":
    from dataset_scripts.core.cli import main

    main(Sketchy)
