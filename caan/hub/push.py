"""`caan push FOLDER REPO`: a finished model's folder becomes a repository on the Hub.

What is pushed is a copy, made beside the folder: weights, config and code in the form that was asked for, processors, card,
results, the picture of the retrieval. Of other files in the folder only LICENSE goes along.
"""

import logging
import shutil
import sys
import tempfile
from pathlib import Path

from transformers import AutoConfig
from transformers.utils.logging import disable_progress_bar

from caan.cli import make_parser
from caan.evaluation.facts import FACTS_FILE
from caan.hub.card import write_card
from caan.hub.results import carry_results
from caan.hub.upload import BackgroundPush, PushError, open_repository, upload, way_on
from caan.options import PushOptions
from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor, CAANProcessor

logger = logging.getLogger(__name__)
COMPANIONS = (FACTS_FILE, "README.md", "LICENSE")
EXAMPLES = """examples:
  caan push outputs/sketchy org/caan-sketchy                     the form for inference, of a few files
  caan push outputs/sketchy org/caan-sketchy --full --private    with the text encoder, to train on from; for you alone
  caan push outputs/sketchy org/caan-sketchy --revision v2       to a branch
"""


def prepare_folder(source: Path, target: Path, repo: str, full: bool = False, license_id: str | None = None) -> bool:
    """Makes `target` the folder that goes to the Hub as `repo`; `source` stays as it is.

    Args:
        source: a model's folder, as train.py leaves it. target: an empty folder. full: keep text encoder and alignment.

    Returns:
        Whether the card is ours; False where `source` has one edited by hand, which goes along as it is.

    Raises:
        ValueError: `source` holds no CAAN.
    """
    if not (source / "config.json").is_file() or AutoConfig.from_pretrained(source).model_type != "caan":
        raise ValueError(f"{source} holds no CAAN: give the folder that train.py wrote, the one with config.json.")
    model = CAANModel.from_pretrained(source, dtype="auto")
    full = full and model.config.use_text
    (model if full else model.for_inference()).save_pretrained(target)
    (CAANProcessor if full else CAANImageProcessor).from_pretrained(source).save_pretrained(target)
    for name in COMPANIONS:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    carry_results(source, target)
    return write_card(target, repo, license_id) is not None


def push(source: Path, repo: str, options: PushOptions, message: str = "Upload CAAN") -> str:
    """Pushes a finished model's folder; returns the commit's address.

    Raises:
        ValueError: `source` holds no CAAN. PushError: it did not get there; says how to go on.
    """
    with tempfile.TemporaryDirectory(prefix="caan-push-") as temporary:
        if not prepare_folder(source, Path(temporary), repo, options.full, options.license):
            print(f"{source}/README.md was edited: it is pushed as it is. Remove it to have the card written anew.")
        try:
            open_repository(repo, options)
            return upload(Path(temporary), repo, options, message)
        except PushError as error:
            again = way_on(source, repo, options)
            raise PushError(f"{error}\nNothing is lost: {source} is whole. To go on: {again}") from error


def push_finished(running: BackgroundPush, output: Path) -> None:
    """The last push of a training run: waits for the one on its way, then sends the finished folder. Never raises: the model
    is on disk, and a run of days does not end in an error for a connection."""
    running.wait()
    try:
        print(f"pushed: {push(output, running.repo, running.options, 'End of training')}")
    except PushError as error:
        logger.warning("The model was not pushed. %s", error)


def main(argv: list[str], prog: str) -> int:
    """The command. Returns the exit status."""
    parser = make_parser(PushOptions, prog, "Publish a finished model on the Hub.", EXAMPLES)
    parser.add_argument("folder", metavar="FOLDER", help="what train.py wrote, with config.json and weights")
    parser.add_argument("repo", metavar="REPO", help="repository on the Hub, such as org/caan-sketchy; made if missing")
    disable_progress_bar()  # of reading and writing weights; the client shows the upload's
    options, given = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    try:
        print(f"pushed: {push(Path(given.folder), given.repo, options)}")
    except KeyboardInterrupt:
        print(f"{prog}: stopped; to go on: {way_on(Path(given.folder), given.repo, options)}", file=sys.stderr)
        return 130
    except (PushError, ValueError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1 if isinstance(error, PushError) else 2
    return 0
