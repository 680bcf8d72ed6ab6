"""How a script ends on bad input.  python -m pytest tests/test_errors.py"""

import sys

import pytest
from torch.utils.data import DataLoader, Dataset

from caan.errors import explain_errors, print_error


def printed(capsys, error) -> str:
    """What the exception hook prints of an error that was raised."""
    try:
        raise error
    except type(error):
        print_error(*sys.exc_info())
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError, ModuleNotFoundError, UnicodeError])
def test_bad_input_is_told_in_one_message(capsys, monkeypatch, kind):
    monkeypatch.delenv("CAAN_TRACEBACK", raising=False)
    error = kind("no such folder: x\nGive --data_dir.") if kind is not UnicodeError else kind("no such folder: x")
    text = printed(capsys, error)
    assert text.startswith("\nerror: no such folder: x\n") and "Traceback" not in text
    assert text.endswith("(CAAN_TRACEBACK=1 shows where it arose.)\n")


def test_a_bug_keeps_its_traceback(capsys):
    text = printed(capsys, KeyError("label"))
    assert text.startswith("Traceback") and "raise error" in text and text.endswith("KeyError: 'label'\n")


def test_the_traceback_can_be_had(capsys, monkeypatch):
    monkeypatch.setenv("CAAN_TRACEBACK", "1")
    assert printed(capsys, ValueError("x")).startswith("Traceback")


class Broken(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, row):
        try:
            raise OSError("truncated")
        except OSError as error:
            raise ValueError("photo/cat/3.png: Cannot read the image") from error


def test_of_a_worker_s_error_only_the_message_is_shown(capsys, monkeypatch):
    monkeypatch.delenv("CAAN_TRACEBACK", raising=False)
    with pytest.raises(ValueError, match="Caught ValueError in DataLoader worker") as caught:
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert printed(capsys, caught.value).splitlines()[1] == "error: photo/cat/3.png: Cannot read the image"


def test_the_hook_is_set(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    explain_errors()
    assert sys.excepthook is print_error
