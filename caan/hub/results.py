"""An evaluation in the folder of the model that it measured, in the forms that the Hub reads.

Numbers belong to weights: `results.json` in a model's folder names the weights it was measured on, and is not used for others.

The Hub knows two forms. `model-index` in the card's header takes every metric of any data set. `.eval_results/*.yaml`, which
huggingface_hub 1.4 and later recommend, feeds the leaderboard of a benchmark that is a data set on the Hub, one number a
task; so it is written only where the evaluation read its data from the Hub. Its task is the zero-shot split, its number
mAP@all, which does not depend on a cut.
"""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml

from caan.data.provenance import is_hub_id
from caan.evaluation.record import RESULTS_FILE, Evaluation, write_whole
from caan.evaluation.summary import metric_heading, protocol
from caan.evaluation.weights import weights_fingerprint

PICTURE_FILE, ENTRIES_FOLDER = "retrieval.png", ".eval_results"
TASK = "sketch-based image retrieval"
METRIC_TYPES = {"map": "mean_average_precision", "prec": "precision", "top1": "precision", "acc": "accuracy"}

logger = logging.getLogger(__name__)


def adopt_results(folder: Path, record: Evaluation, picture: Path | None) -> Path:
    """Puts an evaluation into the folder of the model it measured: `results.json` and `retrieval.png`.

    Args:
        record: as `Evaluation.of` gives it for the model in `folder`.
        picture: of the model's retrieval; without one an older picture is removed, since it belongs to other numbers.

    Raises:
        ValueError: the folder's weights are no longer those that were measured, as when a training run ends meanwhile.
    """
    if record.models[str(record.model)].weights not in (None, weights_fingerprint(folder)):
        raise ValueError(
            f"{folder} holds other weights than those that were measured: evaluate it anew. Its card is as it was."
        )
    (folder / PICTURE_FILE).unlink(missing_ok=True)  # first: a stop in between leaves no picture beside other numbers
    written = of_weights(record, folder).write(folder / RESULTS_FILE)
    if picture is not None:
        shutil.copyfile(picture, folder / PICTURE_FILE)
    return written


def of_weights(record: Evaluation, folder: Path) -> Evaluation:
    """The record of a folder's model, with the fingerprint of the weights that lie there now."""
    own = str(record.model)
    model = replace(record.models[own], weights=weights_fingerprint(folder))
    return replace(record, models={**record.models, own: model})


def read_results(folder: Path) -> Evaluation | None:
    """The folder's evaluation; None where there is none, or where it was of other weights than the folder's.

    A file that holds no record is left aside with a warning: a finished training run does not end in an error for it.
    """
    path = folder / RESULTS_FILE
    if not path.is_file():
        return None
    try:
        record = Evaluation.read(path)
    except ValueError as error:
        logger.warning("%s The card is written without it.", error)
        return None
    own = record.models.get(record.model) if record.model is not None else None
    return record if own is not None and own.weights == weights_fingerprint(folder) else None


def carry_results(source: Path, target: Path) -> None:
    """Takes a folder's evaluation along to `target`, a copy of its model saved anew, whose tensors may be called otherwise.

    Results of other weights than the folder's stay where they are.
    """
    record = read_results(source)
    if record is None:
        return
    of_weights(record, target).write(target / RESULTS_FILE)
    if (source / PICTURE_FILE).is_file():
        shutil.copyfile(source / PICTURE_FILE, target / PICTURE_FILE)


def trained_on(record: Evaluation) -> bool:
    """Whether the evaluated model is known to have seen any of the classes in training: then no number is a zero-shot one."""
    return record.seen(str(record.model)).kind in ("seen", "mixed")


def model_index(record: Evaluation) -> list[EvalResult]:
    """The evaluated model's own numbers for the card's header."""
    own = record.results[str(record.model)] | record.instance_results.get(str(record.model), {})
    return [
        EvalResult(
            task_type="image-feature-extraction",
            task_name=TASK if trained_on(record) else f"zero-shot {TASK}",
            dataset_type=record.dataset,
            dataset_name=protocol(record) + (", re-ranked by the whole gallery" if record.rerank else ""),
            dataset_config=record.dataset_config,
            dataset_split=record.split,
            metric_type=METRIC_TYPES[name.partition("_")[0]],
            metric_name=metric_heading(name),
            metric_value=own[name],
        )
        for name in {**record.definitions, **record.instance_definitions}
    ]


def write_entries(folder: Path, record: Evaluation | None) -> Path | None:
    """Writes `.eval_results/caan_<data set>.yaml` for the leaderboard of a data set on the Hub; removes those of other numbers.

    Nothing is written where the data came from elsewhere, and where the model was trained on any of the evaluated classes.
    """
    for old in (folder / ENTRIES_FOLDER).glob("caan_*.yaml"):
        old.unlink()
    if record is None or not is_hub_id(record.dataset) or trained_on(record):
        return None
    own = record.results[str(record.model)]
    rerank = ", re-ranked by the whole gallery (transductive)" if record.rerank else ""
    entry = EvalResultEntry(
        dataset_id=record.dataset,
        task_id=record.dataset_config or "default",
        value=own["map_all"],
        date=record.date,
        notes=f"mAP@all, {protocol(record)} ({own['gallery_size']:,} photos), {record.average} average{rerank}; "
        f"{record.seen(str(record.model))}",
    )
    path = folder / ENTRIES_FOLDER / f"caan_{record.dataset.split('/')[1]}.yaml"
    path.parent.mkdir(exist_ok=True)
    write_whole(path, yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False))
    return path
