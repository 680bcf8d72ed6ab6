"""A finished model's folder becomes a repository on the Hub.

What is pushed is a copy, made beside the folder: weights, config and code in the form that was asked for, processors, card,
results, the picture of the retrieval. Of other files in the folder only LICENSE goes along.
"""

import logging
import shutil
import tempfile
from pathlib import Path

from transformers import AutoConfig, AutoModel

from caan.errors import explain, naming
from caan.evaluation.combination import COMBINED_FILE
from caan.evaluation.facts import FACTS_FILE
from caan.hub.card import write_card
from caan.hub.results import carry_results
from caan.hub.upload import BackgroundPush, PushError, open_repository, upload, way_on
from caan.options import PushOptions
from configuration_caan import MODEL_TYPES
from processing_caan import CAANImageProcessor, CAANProcessor

logger = logging.getLogger(__name__)
COMPANIONS = (FACTS_FILE, COMBINED_FILE, "README.md", "LICENSE")


def prepare_folder(source: Path, target: Path, repo: str, full: bool = False, license_id: str | None = None) -> bool:
    """Makes `target` the folder that goes to the Hub as `repo`; `source` stays as it is.

    Args:
        source: a model's folder, as train.py leaves it. target: an empty folder. full: keep text encoder and alignment.

    Returns:
        Whether the card is ours; False where `source` has one edited by hand, which goes along as it is.

    Raises:
        ValueError: `source` holds no CAAN.
    """
    require_model(source)
    with naming("folder", str(source)):
        model, loaded = AutoModel.from_pretrained(source, dtype="auto", output_loading_info=True)
        if lacking := sorted(loaded["missing_keys"]):
            raise ValueError(f"{len(lacking)} of its weights are missing, such as {lacking[0]}. Train or download it again.")
        full = full and model.config.use_text
        processor = (CAANProcessor if full else CAANImageProcessor).from_pretrained(source)
    (model if full else model.for_inference()).save_pretrained(target)
    processor.save_pretrained(target)
    for name in COMPANIONS:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    carry_results(source, target)
    return write_card(target, repo, license_id, source) is not None


def require_model(source: Path) -> None:
    """Raises ValueError, naming the folder, where it holds no CAAN."""
    if not (source / "config.json").is_file():
        raise ValueError(f"{source} holds no CAAN: give the folder that train.py wrote, the one with config.json.")
    with naming("folder", str(source)):
        kind = AutoConfig.from_pretrained(source).model_type
    if kind not in MODEL_TYPES:
        raise ValueError(f"{source} holds no CAAN but a model of type {kind}: give the folder that train.py wrote.")


def push(source: Path, repo: str, options: PushOptions, message: str = "Upload CAAN") -> str:
    """Pushes a finished model's folder; returns the commit's address.

    Args:
        repo: "org/name", or "name" alone for the user's own repository of that name.

    Raises:
        ValueError: `source` holds no CAAN. PushError: it did not get there; says how to go on.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="caan-push-") as temporary:
            target = Path(temporary)
            if not prepare_folder(source, target, repo, options.full, options.license):
                print(f"{source}/README.md was edited: it is pushed as it is. Remove it to have the card written anew.")
            whole_name = open_repository(repo, options)
            if whole_name != repo:
                write_card(target, whole_name, options.license)
            return upload(target, whole_name, options, message)
    except PushError as error:
        again = way_on(source, repo, options)
        raise PushError(f"{error} Nothing is lost: {source} is whole. To go on: {again}") from error


def push_finished(running: BackgroundPush, output: Path) -> None:
    """The last push of a training run: waits for the one on its way, then sends the finished folder.

    Never raises: the model is on disk, and a run of days does not end in an error for a connection or a full disk.
    """
    try:
        running.wait()
        print(f"pushed: {push(output, running.repo, running.options, 'End of training')}")
    except PushError as error:
        logger.warning("The model was not pushed. %s", error)
    except Exception as error:
        told = explain(error) or f"{type(error).__name__}: {error}"
        again = way_on(output, running.repo, running.options)
        logger.warning("The model was not pushed: %s %s is whole. To go on: %s", told, output, again)
