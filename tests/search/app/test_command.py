"""`caan app`: its options, and the Space that it writes.  python -m pytest tests/search/app/test_command.py"""

import ast
import builtins
import socket
from types import SimpleNamespace

import pytest
import yaml

from caan import __version__, cli
from caan.options import AppOptions, is_loopback
from caan.search.app import command, ready
from caan.search.app.space import require_public, write_space


def caan(*arguments):
    try:
        return cli.main(["app", *map(str, arguments)])
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--host", "0.0.0.0"], "add --auth USER:PASSWORD"),
        (["--host", "192.168.1.7"], "lets other machines in"),
        (["--auth", "anna"], "auth must be USER:PASSWORD"),
        (["--auth", "anna:"], "auth must be USER:PASSWORD"),
        (["--port", "0"], "port must be in [1, 65535]"),
        (["--space", "x"], "a public gallery on the Hub alone"),
        (["--hots", "x"], "did you mean 'host'?"),
    ],
)
def test_wrong_options_are_named(capsys, arguments, words):
    assert caan(*arguments) == 2
    assert words in capsys.readouterr().err


def test_loopback_addresses():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org", "localhost.example.org")))
    assert AppOptions(host="0.0.0.0", auth="anna:a:b").auth == "anna:a:b"


@pytest.mark.parametrize("host, name", [("::1", "[::1]"), ("[::1]", "[::1]"), ("127.0.0.2", "127.0.0.2")])
def test_the_page_is_served_at_every_way_to_write_this_machine(monkeypatch, host, name):
    page = pytest.importorskip("caan.search.app.page")
    served = {}
    monkeypatch.setattr(page, "launch", lambda page, **settings: (served.update(settings), f"http://{name}:7860/", None))
    monkeypatch.setattr(page, "make_page", lambda server: None)
    monkeypatch.setattr(ready, "ready_server", lambda options: SimpleNamespace(galleries=SimpleNamespace(first="default")))
    monkeypatch.setattr(command, "wait_for_ever", lambda: None)
    assert caan("--host", host) == 0
    assert served["server_name"] == name and served["hosts"] == {"127.0.0.1", "localhost", "[::1]", name}


def test_a_port_that_is_taken_is_told_with_its_cure(monkeypatch, capsys):
    pytest.importorskip("gradio")
    monkeypatch.setattr(ready, "ready_server", lambda options: SimpleNamespace(calls=[]))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert caan("--port", port) == 1
    error = capsys.readouterr().err
    assert f"127.0.0.1:{port}: the port is taken" in error and "GRADIO" not in error


def test_without_a_gallery_the_cure_is_told(capsys, tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    monkeypatch.setenv("CAAN_HOME", str(tmp_path))
    assert caan() == 1
    error = capsys.readouterr().err
    assert "caan app: error:" in error and "caan index" in error and "Traceback" not in error


def test_a_missing_gradio_is_told_with_its_cure(capsys, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "gradio":
            raise ImportError("No module named 'gradio'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(__import__("sys").modules, "caan.search.app.page", raising=False)
    assert caan() == 1
    assert 'pip install "caan[app]"' in capsys.readouterr().err


def test_a_space_serves_its_gallery_alone(tmp_path, capsys):
    pytest.importorskip("gradio")
    assert caan("--space", tmp_path / "space", "--gallery", "hf://datasets/org/my-photos") == 0
    assert "hf upload ORG/NAME" in capsys.readouterr().out
    folder = tmp_path / "space"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "app.py", "requirements.txt"]
    last = ast.parse((folder / "app.py").read_text()).body[-1]
    assert ast.unparse(last) == "serve('hf://datasets/org/my-photos')"
    assert (folder / "requirements.txt").read_text() == f"caan[app]=={__version__}\n"
    _, head, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(head)
    assert card["sdk"] == "gradio" and card["app_file"] == "app.py" and card["datasets"] == ["org/my-photos"]
    assert card["title"] == "Sketch search in my-photos" and "$" not in text
    with pytest.raises(ValueError, match="holds an app.py already"):
        write_space(str(folder), "hf://datasets/org/my-photos")


@pytest.mark.parametrize(
    "gallery",
    [
        "default",
        "/photos",
        "hf://datasets/org",
        'hf://datasets/a/b")',
        "hf://datasets/a/b\n",
        "hf://spaces/a/b",
        "milvus://x:1/y",
    ],
)
def test_a_space_of_anything_else_is_refused(gallery, tmp_path):
    with pytest.raises(ValueError, match="alone, not"):
        require_public(gallery)
    with pytest.raises(ValueError):
        write_space(str(tmp_path / "space"), gallery)
    assert not (tmp_path / "space").exists()
