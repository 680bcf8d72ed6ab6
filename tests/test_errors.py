"""How a command ends on bad input, on a stop and on trouble of the machine.  python -m pytest tests/test_errors.py"""

import errno
import os
import signal

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset

from caan.errors import exit_on_error, naming


def ended(capsys, error, hint=None) -> tuple[int, str]:
    """Exit status and what is printed of an error that was raised."""
    with pytest.raises(SystemExit) as end, exit_on_error("caan x", hint):
        raise error
    return end.value.code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def no_traceback(monkeypatch):
    monkeypatch.delenv("CAAN_TRACEBACK", raising=False)


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError, ModuleNotFoundError])
def test_bad_input_is_told_in_one_message(capsys, kind):
    assert ended(capsys, kind("no such folder: x")) == (1, "\ncaan x: error: no such folder: x\n")


@pytest.mark.parametrize("error", [KeyError("label"), RuntimeError("a bug"), AssertionError()])
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)) as caught, exit_on_error("caan x"):
        raise error
    assert caught.value is error


def test_the_traceback_can_be_had(monkeypatch):
    monkeypatch.setenv("CAAN_TRACEBACK", "1")
    with pytest.raises(ValueError, match="^x$"), exit_on_error("caan x"):
        raise ValueError("x")


class Broken(Dataset):
    """Rows that cannot be read, or whose process is killed."""

    def __init__(self, kill: bool = False):
        self.kill = kill

    def __len__(self):
        return 4

    def __getitem__(self, row):
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            raise OSError("truncated")
        except OSError as error:
            raise ValueError("photo/cat/3.png: Cannot read the image") from error


def test_of_a_worker_s_error_only_the_message_is_shown(capsys):
    with pytest.raises(SystemExit), exit_on_error("caan x"):
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert capsys.readouterr().err == "\ncaan x: error: photo/cat/3.png: Cannot read the image\n"


def test_a_killed_worker_is_told_with_the_cure(capsys):
    with pytest.raises(SystemExit) as end, exit_on_error("caan x"):
        next(iter(DataLoader(Broken(kill=True), num_workers=1)))
    error = capsys.readouterr().err
    assert end.value.code == 1 and "caan x: error: a process that reads pictures was killed" in error
    assert "--num_workers 0" in error and "Traceback" not in error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "out/model.safetensors"),
        SafetensorError('Error while serializing: I/O error: Os { code: 28, kind: StorageFull, message: "No space left" }'),
        RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data/2"),
    ],
)
def test_a_full_disk_is_told_with_the_cure(capsys, error):
    status, text = ended(capsys, error)
    assert status == 1 and text.startswith("\ncaan x: error: ") and text.endswith("Free some space on that disk.\n")


def test_too_little_memory_is_told_with_the_cure(capsys):
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")):
        status, text = ended(capsys, error)
        assert status == 1 and "error: out of memory: lower the batch or the image size." in text and text.count("\n") == 2


def test_damaged_weights_are_told_by_name(tmp_path, capsys):
    (tmp_path / "model.safetensors").write_bytes(b"12345678 no weights")
    with pytest.raises(SystemExit), exit_on_error("caan x"), naming("model", "org/m"):
        load_file(tmp_path / "model.safetensors")
    assert "caan x: error: model 'org/m' cannot be loaded: " in capsys.readouterr().err


@pytest.mark.parametrize("number,status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("hint", [None, "to go on: caan x", lambda: "to go on: caan x"])
def test_a_stop_is_one_line(capsys, number, status, hint):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end, exit_on_error("caan x", hint):
        os.kill(os.getpid(), number)
    assert end.value.code == status
    assert capsys.readouterr().err == f"\ncaan x: stopped{'; to go on: caan x' if hint else ''}\n"
    assert signal.getsignal(signal.SIGTERM) is before
