"""The fake Hub against the unchanged client: as on the real one.  python -m pytest tests/hub/test_fake_hub.py"""

import hashlib
import subprocess
from pathlib import Path

import pytest
from fake_hub import READER
from fake_hub_metadata import metadata_errors
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

REPO = "org/some-model"
FILES = {"README.md": b"hello", "model.safetensors": bytes(range(256)) * 40, "deep/er/a.txt": b"a"}


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "folder", FILES)


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".gitattributes"}


def push(folder, **options):
    return HfApi().upload_folder(repo_id=REPO, folder_path=folder, **options)


def download(tmp_path, name="snapshot", **options):
    return read(Path(snapshot_download(REPO, cache_dir=tmp_path / name, **options)))


def test_what_is_uploaded_comes_back(hub, folder, tmp_path):
    HfApi().create_repo(REPO)
    commit = push(folder, commit_message="first")
    assert download(tmp_path) == FILES
    assert hub.files(REPO) == FILES | {".gitattributes": b""}
    assert HfApi().model_info(REPO).sha == commit.oid
    assert [c.title for c in HfApi().list_repo_commits(REPO)] == ["first", "initial commit"]
    assert not [path for _, path in hub.unknown if REPO in path]


def test_models_and_data_sets_are_different_repositories(hub, folder, tmp_path):
    for kind in ("model", "dataset"):
        HfApi().create_repo(REPO, repo_type=kind)
    push(folder, repo_type="dataset")
    assert download(tmp_path, repo_type="dataset") == FILES
    assert download(tmp_path, "other") == {}


def test_large_files_go_through_the_store_and_leave_the_token_behind(hub, folder, tmp_path):
    HfApi().create_repo(REPO)
    push(folder)
    sha = hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    assert list(hub.objects) == [sha]
    info = {file.path: file for file in HfApi().list_repo_tree(REPO, recursive=True)}
    assert info["model.safetensors"].lfs.sha256 == sha and info["model.safetensors"].lfs.size == 256 * 40
    assert info["README.md"].lfs is None
    download(tmp_path)
    assert ("GET", f"/lfs-store/{sha}") in hub.log and hub.tokens_at_store == {None}


def test_object_names_are_those_of_git(hub, folder, tmp_path):
    HfApi().create_repo(REPO)
    push(folder)
    expected = subprocess.run(["git", "hash-object", folder / "README.md"], capture_output=True, text=True, check=True).stdout
    assert HfApi().get_paths_info(REPO, ["README.md", "none"])[0].blob_id == expected.strip()


def test_files_that_are_there_are_not_sent_again(hub, folder):
    HfApi().create_repo(REPO)
    first = push(folder)
    hub.log.clear()
    assert push(folder).oid == first.oid
    assert not [path for method, path in hub.log if method == "PUT" or "/commit/" in path]


def test_a_pinned_revision_stays_what_it_was(hub, folder, tmp_path):
    HfApi().create_repo(REPO)
    first = push(folder)
    write(folder, {"model.safetensors": b"new", "README.md": b"new"})
    push(folder, delete_patterns=["deep/*"])
    assert download(tmp_path, revision=first.oid) == FILES
    assert download(tmp_path, "newest")["model.safetensors"] == b"new"
    write(folder, {"README.md": b"branch"})
    HfApi().create_branch(REPO, branch="v2")
    push(folder, revision="v2")
    assert download(tmp_path, "v2", revision="v2")["README.md"] == b"branch"
    assert download(tmp_path, "main")["README.md"] == b"new"


def test_deleting(hub, folder):
    HfApi().create_repo(REPO)
    push(folder)
    HfApi().delete_file("README.md", REPO)
    assert "README.md" not in hub.files(REPO) and "deep/er/a.txt" in hub.files(REPO)


def test_who_may_do_what(hub, folder, monkeypatch, tmp_path):
    api = HfApi()
    api.create_repo(REPO, private=True)
    push(folder)
    with pytest.raises(RepositoryNotFoundError) as error:
        snapshot_download(REPO, cache_dir=tmp_path, token=READER)
    assert error.value.response.status_code == 404
    for token, status in ((None, 401), (READER, 403), ("hf_stranger", 401)):
        monkeypatch.setenv("HF_TOKEN", token or "")
        with pytest.raises(HfHubHTTPError) as error:
            api.create_repo("org/new")
        assert error.value.response.status_code == status
        with pytest.raises(HfHubHTTPError) as error:
            api.auth_check(REPO, write=True)
        assert error.value.response.status_code == (404 if token == READER else 401)
    assert set(hub.repositories) == {("model", REPO)}


def test_what_is_not_there(hub, folder, tmp_path):
    api = HfApi()
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/none")
    with pytest.raises(RepositoryNotFoundError):
        push(folder)
    api.create_repo(REPO)
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(REPO, "none.txt", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "README.md", revision="none", cache_dir=tmp_path)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(REPO)


def test_a_connection_that_drops_once_is_survived(hub, folder, tmp_path):
    HfApi().create_repo(REPO)
    hub.fail("PUT", "/lfs-store/", times=1)
    push(folder)
    hub.fail("GET", "/lfs-store/", times=1)  # in the middle of the file: the client asks for the rest
    assert download(tmp_path) == FILES
    assert [fault.times for fault in hub.faults] == [0, 0]


def test_a_connection_that_keeps_dropping_changes_nothing(hub, folder):
    HfApi().create_repo(REPO)
    before = hub.model(REPO).at("main")
    hub.fail("POST", "/commit/")
    with pytest.raises(Exception, match="disconnected|reset"):
        push(folder)
    assert hub.model(REPO).at("main") == before


def test_a_server_error_is_told(hub, folder):
    HfApi().create_repo(REPO)
    hub.fail("POST", "/commit/", status=500, message="the disk is full")
    with pytest.raises(HfHubHTTPError, match="500.*\n*.*the disk is full"):
        push(folder)


@pytest.mark.parametrize(
    "header, said",
    [
        ("license: apache-2.0\ntags: [a, b]\nbase_model: org/x\nmetrics: [precision]", None),
        ("license: MIT License", "license"),
        ("license: other", "license_name"),
        ("datasets: [./some/data]", "datasets"),
        ("pipeline_tag: sketch-retrieval", "pipeline_tag"),
        ("- a", "mapping"),
        ("a: [", "YAML Metadata Error"),
        ("model-index:\n- name: m\n  results:\n  - task: {type: t}", "model-index"),
    ],
)
def test_metadata_checks(hub, folder, header, said):
    content = f"---\n{header}\n---\n# Title\n"
    errors = metadata_errors(content, "model")
    assert errors == [] if said is None else said in errors[0]
    HfApi().create_repo(REPO)
    (folder / "README.md").write_text(content)
    if said is None:
        push(folder)
    else:
        with pytest.raises(ValueError, match="Invalid metadata in README.md"):
            push(folder)
        assert "README.md" not in hub.files(REPO)
