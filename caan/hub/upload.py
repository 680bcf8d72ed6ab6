"""Sending a prepared folder to the Hub: at once, or in the background of a training run.

Whatever goes wrong, no local file is touched, and the message says what happened and how to go on.
"""

import logging
import shlex
import shutil
from concurrent.futures import Future
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from caan.errors import no_space
from caan.options import PushOptions

# What an earlier push may have left and this one does not bring: the forms differ in processors, weights in shards.
OWN_FILES = [
    *("model*.safetensors", "model.safetensors.index.json", "*_caan.py", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "chat_template.jinja"),
    *("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"),
    *("training.json", "combined.json", "results.json", "retrieval.png", ".eval_results/caan_*"),
]

logger = logging.getLogger(__name__)


class PushError(OSError):
    """A push that failed. The message says why, and how to go on."""


def open_repository(repo: str, options: PushOptions) -> str:
    """Makes the repository and the branch where they are missing; the way to find out early whether a push will be let in.

    Returns:
        The repository's full name: of "name" alone that with the user's.

    Raises:
        PushError: the Hub cannot be reached or refuses; or `private` is asked of a repository that is public.
    """
    api = HfApi()
    try:
        repo = api.create_repo(repo, private=options.private or None, exist_ok=True).repo_id
        api.auth_check(repo, write=True)  # creating what is there already asks for no right to write
        if options.private and not api.repo_info(repo).private:
            raise PushError(f"{repo} is there and public. Make it private in its settings, or push without --private.")
        if options.revision:
            api.create_branch(repo, branch=options.revision, exist_ok=True)
    except Exception as error:
        raise PushError(reason(error, repo)) from error
    return repo


def upload(folder: Path, repo: str, options: PushOptions, message: str) -> str:
    """Sends a prepared folder in one commit; returns the commit's address. Files that are there already are not sent again.

    Raises:
        PushError: it did not get there. The repository is as it was.
    """
    try:
        commit = HfApi().upload_folder(
            repo_id=repo,
            folder_path=folder,
            revision=options.revision,
            commit_message=options.commit_message or message,
            delete_patterns=list(OWN_FILES),
        )
    except Exception as error:
        raise PushError(reason(error, repo)) from error
    return commit.commit_url


def reason(error: Exception, repo: str) -> str:
    """Why a push failed and what to do, in a sentence or two."""
    if isinstance(error, PushError):
        return str(error)
    if no_space(error):
        return f"{one_line(error)} A disk is full: free some space, or name another folder for temporary files by TMPDIR."
    cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error  # the client wraps a failed file
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) and cause.response is not None else None
    if status == 401:
        return f"The Hub does not know you: log in with `hf auth login`, or set HF_TOKEN. ({one_line(cause)})"
    if status == 403:
        return f"Your token may not write to {repo}: take one with write access, or another repository. ({one_line(cause)})"
    if status is not None or isinstance(cause, (ValueError, PermissionError)):
        return one_line(cause)
    return f"{constants.ENDPOINT} cannot be reached, or the connection broke ({type(cause).__name__}: {one_line(cause)})."


def one_line(error: BaseException) -> str:
    """A message without the client's advice on other things."""
    return " ".join(line for line in str(error).splitlines() if line)[:300]


def way_on(folder: Path, repo: str, options: PushOptions) -> str:
    """The command that pushes `folder` again."""
    flags = [("--full", options.full), ("--private", options.private)]
    names = ("revision", "license", "commit_message")
    values = [(f"--{name}", getattr(options, name, None)) for name in names]
    given = [name for name, wanted in flags if wanted] + [part for name, value in values if value for part in (name, value)]
    return shlex.join(["caan", "push", str(folder), repo, *given])


class BackgroundPush:
    """Uploads beside a training run, one at a time. A failed one is a warning: training goes on.

    Raises PushError at once where the Hub would not let anything in.
    """

    def __init__(self, repo: str, options: PushOptions):
        self.repo, self.options = open_repository(repo, options), options
        self.api = HfApi()
        self.running: Future | None = None

    def start(self, folder: Path, message: str) -> bool:
        """Uploads `folder` in the background and removes it then. With one still on its way, it is only removed.

        Returns:
            Whether it is being uploaded.
        """
        if self.running is not None and not self.running.done():
            logger.warning("The last push is still on its way: this one is left out. Raise push_steps if it happens often.")
            shutil.rmtree(folder)
            return False
        self.running = self.api.run_as_future(self._upload, folder, message)
        return True

    def _upload(self, folder: Path, message: str) -> None:
        try:
            upload(folder, self.repo, self.options, message)
        except PushError as error:
            logger.warning("Push to %s failed; training goes on, and the next push tries again. %s", self.repo, error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def wait(self) -> None:
        """Returns when nothing is on its way any more."""
        if self.running is not None:
            self.running.result()
