"""Files made from a gallery: whole or not there, and never taken for another.

python -m pytest tests/search/test_derived.py
"""

import os
import signal
import struct
import threading
import zlib

import numpy as np
import pytest

from caan.search.derived import CODES, LAYOUT, MATRIX, START, is_intact, read_header, writing


def write(path, value=1, kind=MATRIX, generation=7):
    with writing(path, kind, generation) as file:
        file.write(np.full(6, value, dtype=np.int64))
        file.count, file.width = 3, 2


def test_a_file_says_what_it_is(tmp_path):
    path = tmp_path / "a.matrix"
    write(path)
    header = read_header(path, MATRIX)
    assert (header.generation, header.count, header.width, header.size) == (7, 3, 2, 48)
    assert path.read_bytes()[START:] == np.ones(6, dtype="<i8").tobytes()
    assert is_intact(path, header)


@pytest.mark.parametrize("size", [0, 8, START - 1, START, START + 47])
def test_a_cut_file_is_refused(tmp_path, size):
    path = tmp_path / "a.matrix"
    write(path)
    os.truncate(path, size)
    with pytest.raises(ValueError, match="no file of a gallery|has .* of 112 bytes"):
        read_header(path, MATRIX)


def test_a_longer_a_foreign_and_another_kind_of_file_are_refused(tmp_path):
    path = tmp_path / "a.matrix"
    write(path)
    with pytest.raises(ValueError, match="of kind b'mtrx', version 1; expected b'code'"):
        read_header(path, CODES)
    with open(path, "ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="has 113 of 112 bytes"):
        read_header(path, MATRIX)
    path.write_bytes(b"PK\x03\x04" + bytes(200))
    with pytest.raises(ValueError, match="no file of a gallery"):
        read_header(path, MATRIX)
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none", MATRIX)


@pytest.mark.parametrize("place", range(8, LAYOUT.size + 4))
def test_every_changed_byte_of_the_header_is_noticed(tmp_path, place):
    path = tmp_path / "a.matrix"
    write(path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="the header of a.matrix is damaged"):
        read_header(path, MATRIX)


def test_a_later_version_is_refused(tmp_path):
    path = tmp_path / "a.matrix"
    write(path)
    content = bytearray(path.read_bytes())
    content[8:12] = struct.pack("<I", 2)
    content[LAYOUT.size : LAYOUT.size + 4] = struct.pack("<I", zlib.crc32(content[: LAYOUT.size]))
    path.write_bytes(content)
    with pytest.raises(ValueError, match="version 2; expected b'mtrx', version 1"):
        read_header(path, MATRIX)


def test_a_changed_byte_of_the_content_is_noticed_by_who_looks(tmp_path):
    path = tmp_path / "a.matrix"
    write(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert not is_intact(path, read_header(path, MATRIX))


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.matrix"
    write(path)
    before = path.read_bytes()
    with pytest.raises(OSError, match="full"), writing(path, MATRIX, 8) as file:
        file.write(np.zeros(6))
        raise OSError("the disk is full")
    assert path.read_bytes() == before
    assert {entry.name for entry in tmp_path.iterdir()} - {".a.matrix.lock"} == {"a.matrix"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("moment", ["first part", "fsync", "replace"])
def test_a_kill_while_writing_leaves_the_old_file_and_the_next_writer_goes_on(tmp_path, moment):
    path = tmp_path / "a.matrix"
    write(path)
    before = path.read_bytes()
    child = os.fork()
    if not child:
        kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        if moment != "first part":
            setattr(os, moment, kill)
        with writing(path, MATRIX, 8) as file:
            file.write(np.full(1_000_000, 2))
            kill() if moment == "first part" else None
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.read_bytes() == before and read_header(path, MATRIX).generation == 7
    write(path, 3, generation=9)
    assert read_header(path, MATRIX).generation == 9
    assert {entry.name for entry in tmp_path.iterdir()} - {".a.matrix.lock"} == {"a.matrix"}


def test_writers_take_turns(tmp_path):
    path = tmp_path / "a.matrix"
    threads = [threading.Thread(target=write, args=(path, value, MATRIX, value)) for value in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    header = read_header(path, MATRIX)
    assert is_intact(path, header)
    assert path.read_bytes()[START:] == np.full(6, header.generation, dtype="<i8").tobytes()
