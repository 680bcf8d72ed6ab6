"""Sends a published folder to the Hub. One commit holds one plan: the shards of the card, and none of an earlier one."""

import os

from huggingface_hub import DatasetCard, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from dataset_scripts.core.texts import say
from dataset_scripts.parquet.card import rename_repository

PUBLIC = "{} is there and public. Make it private in its settings, send to another repository, or give --public."


class UploadError(OSError):
    """The folder did not get to the Hub. The message says why, and how to go on; the repository is as it was."""


def refuse_public(repo: str) -> None:
    """Raises UploadError where `repo` is public. One that cannot be looked at yet is left for `upload` to judge."""
    try:
        public = not HfApi().repo_info(repo, repo_type="dataset").private
    except Exception:  # not there, or no Hub: writing the folder needs neither
        return
    if public:
        raise UploadError(PUBLIC.format(repo))


def upload(output_dir: str, repo: str, private: bool) -> str:
    """Send the card and its shards in one commit that also deletes every other shard of the repository.

    Files that are already there are not sent again.

    Args:
        output_dir: a folder that `publish` wrote.
        repo: ``org/name``; made where it is missing.
        private: make it private; refused where it is there and public.

    Returns:
        The repository's address.

    Raises:
        UploadError: the Hub cannot be reached or refuses, or the repository is public. Nothing was changed there.
    """
    try:
        return _upload(output_dir, repo, private)
    except Exception as error:
        whole = f"{output_dir} is whole: the same command sends it, and skips what is finished."
        raise UploadError(f"{reason(error, repo)} {whole}") from error


def _upload(output_dir: str, repo: str, private: bool) -> str:
    api = HfApi()
    address = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
    rename_repository(output_dir, repo, address.repo_id)
    repo = address.repo_id
    api.auth_check(repo, repo_type="dataset", write=True)  # creating what is there already asks for no right to write
    if private and not api.repo_info(repo, repo_type="dataset").private:
        raise UploadError(PUBLIC.format(repo))
    before = set(api.list_repo_files(repo, repo_type="dataset"))
    shards = [f["path"] for c in DatasetCard.load(os.path.join(output_dir, "README.md")).data.configs for f in c["data_files"]]
    api.upload_folder(
        repo_id=repo,
        repo_type="dataset",
        folder_path=output_dir,
        allow_patterns=["README.md", *shards],
        delete_patterns=["*.parquet"],  # those that are not sent
    )
    removed = sorted(before - set(api.list_repo_files(repo, repo_type="dataset")))
    if removed:
        say(f"removed from {repo}, left by an earlier publication (its revision keeps them): {', '.join(removed)}")
    return str(address)


def reason(error: Exception, repo: str) -> str:
    """Why the Hub did not take it, and what to do, in one line."""
    if isinstance(error, UploadError):
        return str(error)
    cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error  # the client wraps a failed file
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) and cause.response is not None else None
    text = " ".join(str(cause).split())[:300]
    if status == 401:
        return f"The Hub does not know you: log in with `hf auth login`, or set HF_TOKEN. ({text})"
    if status == 403:
        return f"Your token may not write to {repo}: take one with write access, or another repository. ({text})"
    if status is not None or isinstance(cause, ValueError):
        return text
    return f"{constants.ENDPOINT} cannot be reached, or the connection broke ({type(cause).__name__}: {text})."
