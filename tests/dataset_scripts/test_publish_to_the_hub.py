"""Publishing to the fake Hub: one plan a revision, private unless asked; and how a run ends that cannot go on.

pytest tests/dataset_scripts/test_publish_to_the_hub.py
"""

import errno
import shlex
import signal
import sys

import datasets
import pytest
from benchmark_trees import SKETCHY_LINES, make_tree, paths
from fake_hub import READER
from huggingface_hub import HfApi, snapshot_download
from PIL import Image

from dataset_scripts import load
from dataset_scripts.folder import Folder
from dataset_scripts.parquet import publish, shards
from dataset_scripts.parquet.publish import PublishArguments
from dataset_scripts.parquet.upload import UploadError, upload
from dataset_scripts.sketchy import Sketchy

REPO = "org/mine"
FILES = [f"{m}/{c}/{i}.png" for m in ("sketch", "photo") for c in ("cup", "fox", "owl") for i in range(10)]


@pytest.fixture
def root(tmp_path):
    return make_tree(tmp_path / "data", FILES)


def write(root, output, builder=Folder, **options):
    publish.publish(builder, PublishArguments(data_dir=str(root), **options), str(output))
    return str(output)


def small_shards(monkeypatch):
    """Shards of a few pictures: sizes are given in MB."""
    original = publish.write_split
    monkeypatch.setattr(publish, "write_split", lambda *args: original(*args[:4], 300, args[5]))


def on_the_hub(hub):
    return {path for path in hub.files(REPO, kind="dataset") if path.endswith(".parquet")}


def written(output):
    return {path.relative_to(output).as_posix() for path in output.rglob("*.parquet")}


def rows_on_the_hub(tmp_path, name, config=None):
    """Files of the rows that a reader of the repository gets."""
    folder = snapshot_download(REPO, repo_type="dataset", local_dir=tmp_path / name)
    splits = datasets.load_dataset(folder, config, cache_dir=str(tmp_path / f"{name}-cache"))
    return sorted(file for rows in splits.values() for file in rows["file"])


def test_upload_is_private_unless_asked(hub, root, tmp_path):
    output = write(root, tmp_path / "out")
    assert upload(output, REPO, private=True) == f"{hub.url}/datasets/{REPO}"
    assert hub.repositories["dataset", REPO].private is True
    upload(output, "org/open", private=False)
    assert hub.repositories["dataset", "org/open"].private is False
    assert rows_on_the_hub(tmp_path, "back") == sorted(FILES)


def test_the_card_names_the_repository_that_it_lies_in(hub, root, tmp_path):
    """What the Hub makes of a name without an organisation, as with models."""
    output = write(root, tmp_path / "out", repo="mine")
    assert upload(output, "mine", private=True) == f"{hub.url}/datasets/writer/mine"
    assert b'load_dataset("writer/mine", "default")' in hub.files("writer/mine", kind="dataset")["README.md"]


@pytest.mark.parametrize("same_folder", [True, False])
def test_publishing_again_with_another_plan_leaves_no_old_shard(hub, root, tmp_path, monkeypatch, capsys, same_folder):
    upload(write(root, tmp_path / "out"), REPO, private=True)
    first = on_the_hub(hub)
    small_shards(monkeypatch)
    output = tmp_path / ("out" if same_folder else "other")
    capsys.readouterr()
    upload(write(root, output), REPO, private=True)
    assert on_the_hub(hub) == written(output) and not on_the_hub(hub) & first
    assert rows_on_the_hub(tmp_path, "back") == sorted(FILES)
    assert (
        f"removed from {REPO}, left by an earlier publication (its revision keeps them): default/test-00000"
        in capsys.readouterr().out
    )
    titles = [commit.title for commit in hub.repositories["dataset", REPO].branches["main"]]
    assert len(titles) == 3  # the first, and one a publication: no revision between two plans


def test_a_config_that_is_not_written_again_goes(hub, tmp_path):
    root = make_tree(tmp_path / "data", paths(SKETCHY_LINES))
    for configs in (["104_21", "100_25"], ["100_25"]):
        output = write(root, tmp_path / "out", Sketchy, dataset_config=configs, allow_partial=True)
        upload(output, REPO, private=True)
        assert {path.split("/")[0] for path in on_the_hub(hub)} == set(configs)
    assert {path.split("/")[0] for path in written(tmp_path / "out")} == {"104_21", "100_25"}  # on disk it stays
    assert len(rows_on_the_hub(tmp_path, "back", "100_25")) == len(paths(SKETCHY_LINES)) - 3


def test_load_reads_it_back_by_its_hub_id_with_every_option(hub, root, tmp_path, monkeypatch):
    upload(write(root, tmp_path / "out"), REPO, private=True)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", False, raising=False)
    splits = load(REPO, "default", cache_dir=str(tmp_path / "cache"), allow_partial=True, verify=True, skip_corrupt=True)
    assert sorted(file for rows in splits.values() for file in rows["file"]) == sorted(FILES)


def test_what_is_there_is_not_sent_again(hub, root, tmp_path):
    output = write(root, tmp_path / "out")
    upload(output, REPO, private=True)
    hub.log.clear()
    upload(output, REPO, private=True)
    assert not [path for method, path in hub.log if method == "PUT" or "/commit/" in path]


def test_a_private_upload_into_a_public_repository_is_refused(hub, root, tmp_path, monkeypatch):
    HfApi().create_repo(REPO, repo_type="dataset", private=False)
    output = write(root, tmp_path / "out")
    with pytest.raises(UploadError, match="org/mine is there and public. Make it private in its settings,.* or give --public"):
        upload(output, REPO, private=True)
    assert on_the_hub(hub) == set() and hub.repositories["dataset", REPO].private is False
    message = run(monkeypatch, "folder", "--data_dir", root, "--output_dir", tmp_path / "new", "--repo", REPO)
    assert message.startswith("error: org/mine is there and public.") and not (tmp_path / "new").exists()  # before any work
    upload(output, REPO, private=False)
    assert on_the_hub(hub) == written(tmp_path / "out")


def run(monkeypatch, *arguments):
    """What the command ends with."""
    monkeypatch.setattr(sys, "argv", ["publish", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        publish.main()
    return end.value.code


def command(root, tmp_path, *more):
    return ["folder", "--data_dir", root, "--output_dir", tmp_path / "out", *more]


@pytest.mark.parametrize(
    "fault, said",
    [
        ({"method": "POST", "path": "/api/repos/create"}, "cannot be reached, or the connection broke"),
        ({"method": "POST", "path": "/commit/", "status": 500, "message": "the disk is full"}, "the disk is full"),
        ({"method": "PUT", "path": "/lfs-store/", "status": 403}, "Your token may not write to org/mine"),
    ],
)
def test_a_hub_that_is_down_is_told_in_one_line_and_the_folder_is_whole(hub, root, tmp_path, monkeypatch, fault, said):
    hub.fail(**fault)
    message = run(monkeypatch, *command(root, tmp_path, "--repo", REPO))
    assert said in message and "\n" not in message
    assert message.endswith(f"{tmp_path / 'out'} is whole: the same command sends it, and skips what is finished.")
    assert written(tmp_path / "out") == {f"default/{split}-00000-of-00001.parquet" for split in ("train", "validation", "test")}
    hub.faults.clear()
    monkeypatch.setattr(sys, "argv", ["publish", *map(str, command(root, tmp_path, "--repo", REPO))])
    publish.main()
    assert on_the_hub(hub) == written(tmp_path / "out")


def test_a_stranger_s_token_is_told(hub, root, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READER)
    message = run(monkeypatch, *command(root, tmp_path, "--repo", REPO))
    assert message.startswith("error: Your token may not write to org/mine") and "\n" not in message


def stopping(monkeypatch, stop, after):
    """`stop()` is called in the middle of the shard after the first `after` ones."""
    original, calls = shards.pq.ParquetWriter.write_table, []

    def write_table(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > after:
            stop()
        return original(self, *args, **kwargs)

    monkeypatch.setattr(shards.pq.ParquetWriter, "write_table", write_table)


def interrupt():
    raise KeyboardInterrupt


def full():
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "stop, code, said",
    [
        (interrupt, 130, "stopped. Finished shards are kept in"),
        (lambda: signal.raise_signal(signal.SIGTERM), 143, "stopped. Finished shards are kept in"),
        (full, 1, "No space left on device. Make room on the disk. Finished shards are kept in"),
    ],
    ids=["Ctrl-C", "SIGTERM", "disk full"],
)
def test_a_stop_is_told_in_one_line_and_finished_shards_stay(root, tmp_path, monkeypatch, capsys, stop, code, said):
    small_shards(monkeypatch)
    before = signal.getsignal(signal.SIGTERM)
    arguments = command(root, tmp_path)
    with monkeypatch.context() as patch:
        stopping(patch, stop, after=2)
        end = run(patch, *arguments)
    lines = [line for line in (end if code == 1 else capsys.readouterr().err).splitlines() if "kept" in line]
    again = shlex.join(["python", "-m", "dataset_scripts.parquet.publish", *map(str, arguments)])
    assert code == 1 or end == code
    assert len(lines) == 1 and said in lines[0] and lines[0].endswith(f"{tmp_path / 'out'}; go on with: {again}")
    assert signal.getsignal(signal.SIGTERM) is before
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert len(done) == 2 and all(path.suffix == ".parquet" for path in done)
    monkeypatch.setattr(sys, "argv", ["publish", *map(str, arguments)])
    publish.main()
    assert {path: path.stat().st_mtime_ns for path in done} == done


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--shard_size", "0"], "error: shard_size is in MB and 1 or more, not 0."),
        (["--validation_photos", "1.5"], "error: validation_photos is a share from 0 to below 1, not 1.5."),
        (["--dataset_config", "104_21"], "error: BuilderConfig '104_21' not found. Available: ['default']"),
    ],
)
def test_bad_options_are_told_in_one_line(root, tmp_path, monkeypatch, capsys, arguments, said):
    end = run(monkeypatch, *command(root, tmp_path, *arguments))
    message = capsys.readouterr().err.splitlines()[-1] if end == 2 else end
    assert message.endswith(said) and "\n" not in message and not (tmp_path / "out").exists()


def test_verify_names_blank_sketches_and_skip_corrupt_leaves_them_out(root, tmp_path, monkeypatch, capsys):
    Image.new("L", (9, 9), 255).save(root / "sketch/fox/0.png")
    message = run(monkeypatch, *command(root, tmp_path, "--verify"))
    assert "corrupt or unreadable (1): sketch/fox/0.png (blank)" in message and not written(tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["publish", *map(str, command(root, tmp_path, "--skip_corrupt"))])
    publish.main()
    assert "1 corrupt files left out: sketch/fox/0.png" in capsys.readouterr().out
