"""An evaluation in the folder of the model that it measured, in the forms that the Hub reads.

Numbers belong to weights: `results.json` in a model's folder names the weights it was measured on, and is not used for others.

The Hub knows two forms. `model-index` in the card's header takes every metric of any data set. `.eval_results/*.yaml`, which
huggingface_hub 1.4 and later recommend, feeds the leaderboard of a benchmark that is a data set on the Hub, one number a
task; so it is written only where the evaluation read its data from the Hub. Its task is the zero-shot split, its number
mAP@all, which does not depend on a cut.
"""

import json
import shlex
import shutil
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml

from caan.data.provenance import is_hub_id, public_command, public_name
from caan.evaluation.weights import weights_fingerprint

RESULTS_FILE, PICTURE_FILE, ENTRIES_FOLDER = "results.json", "retrieval.png", ".eval_results"
TASK = "zero-shot sketch-based image retrieval"


def adopt_results(folder: Path, name: str, results: Path, picture: Path | None) -> Path:
    """Puts an evaluation into the folder of the model it measured: `results.json` and `retrieval.png`.

    Args:
        folder: of the model that is called `name` in `results`, a file that `write_results` wrote.
        picture: of the model's retrieval; without one an older picture is removed, since it belongs to other numbers.
    """
    content = {key: public_name(value) for key, value in json.loads(results.read_text()).items() if key != "output_dir"}
    content["results"] = {public_name(key): value for key, value in content["results"].items()}
    content["command"] = public_command(shlex.split(content["command"])[1:])
    content |= {"model": public_name(name), "weights": weights_fingerprint(folder)}
    if picture is None:
        (folder / PICTURE_FILE).unlink(missing_ok=True)
    else:
        (folder / PICTURE_FILE).write_bytes(picture.read_bytes())
    path = folder / RESULTS_FILE
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def read_results(folder: Path) -> dict | None:
    """The folder's evaluation; None where there is none, or where it was of other weights than the folder's."""
    path = folder / RESULTS_FILE
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    return content if content.get("weights") == weights_fingerprint(folder) else None


def carry_results(source: Path, target: Path) -> None:
    """Takes a folder's evaluation along to `target`, a copy of its model saved anew, whose tensors may be called otherwise.

    Results of other weights than the folder's stay where they are.
    """
    results = read_results(source)
    if results is None:
        return
    results["weights"] = weights_fingerprint(target)
    (target / RESULTS_FILE).write_text(json.dumps(results, indent=2) + "\n")
    if (source / PICTURE_FILE).is_file():
        shutil.copyfile(source / PICTURE_FILE, target / PICTURE_FILE)


def metric_heading(name: str) -> str:
    """How a metric's name is written: map_200_hits -> mAP@200 (hits), prec_100 -> Prec@100, top1 -> top-1."""
    if name == "top1":
        return "top-1"
    kind, k, *variant = name.split("_")
    return {"map": "mAP", "prec": "Prec"}[kind] + f"@{k}" + (f" ({variant[0]})" if variant else "")


def metric_names(results: dict) -> list[str]:
    """The metrics of an evaluation, without its circumstances."""
    return list(results["definitions"])


def protocol(results: dict) -> str:
    """Data set, split and gallery in words."""
    gallery = "photos of unseen and seen classes" if results.get("generalized") else "photos of unseen classes"
    return f"{Path(results['dataset']).name} {results.get('dataset_config') or ''}".strip() + f", gallery: {gallery}"


def model_index(results: dict) -> list[EvalResult]:
    """The evaluated model's own numbers for the card's header."""
    own = results["results"][results["model"]]
    return [
        EvalResult(
            task_type="image-feature-extraction",
            task_name=TASK,
            dataset_type=results["dataset"],
            dataset_name=protocol(results),
            dataset_config=results.get("dataset_config"),
            dataset_split=results["split"],
            metric_type="mean_average_precision" if name.startswith("map") else "precision",
            metric_name=metric_heading(name),
            metric_value=own[name],
        )
        for name in metric_names(results)
    ]


def write_entries(folder: Path, results: dict | None) -> Path | None:
    """Writes `.eval_results/caan_<data set>.yaml` where the evaluation's data came from the Hub, else nothing."""
    if results is None or not is_hub_id(results["dataset"]):
        return None
    own = results["results"][results["model"]]
    entry = EvalResultEntry(
        dataset_id=results["dataset"],
        task_id=results.get("dataset_config") or "default",
        value=own["map_all"],
        date=results["date"],
        notes=f"mAP@all, {protocol(results)} ({own['gallery_size']:,} photos), {own['average']} average",
    )
    path = folder / ENTRIES_FOLDER / f"caan_{results['dataset'].split('/')[1]}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False))
    return path
