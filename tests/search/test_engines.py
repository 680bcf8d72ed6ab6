"""The contract of engines (`contract.py`) on each of them, and what one of them alone promises.

Milvus is tested where its client and Milvus Lite are installed: by a file, and by `milvus-lite server` over TCP.

pytest tests/search/test_engines.py
"""

import socket
import subprocess
import sys
import time

import pytest

pytest.register_assert_rewrite("contract")

from contract import EngineContract  # noqa: E402

from caan.search.embedded import EmbeddedEngine  # noqa: E402


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a Milvus Lite server, a process of its own."""
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    port, folder = free_port(), tmp_path_factory.mktemp("milvus")
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", folder, "--host", "127.0.0.1", "--port", str(port)]
    with open(folder.parent / "milvus.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(600):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def milvus(uri: str):
    from caan.search.milvus import MilvusEngine

    return MilvusEngine(uri)


class TestEmbedded(EngineContract):
    @pytest.fixture
    def reopen(self, tmp_path):
        return lambda: EmbeddedEngine(tmp_path / "gallery")


class TestMilvusFile(EngineContract):
    """Collections are of one file, made anew for each test: starting Milvus Lite takes a second."""

    @pytest.fixture(scope="class")
    def file(self, tmp_path_factory):
        pytest.importorskip("pymilvus")
        pytest.importorskip("milvus_lite")
        return tmp_path_factory.mktemp("lite") / "photos.db"

    @pytest.fixture
    def reopen(self, file, request):
        number = abs(hash(request.node.name))
        return lambda: milvus(f"milvus+file://{file}/test_{number}")


@pytest.mark.slow
class TestMilvusServer(EngineContract):
    @pytest.fixture
    def reopen(self, server, request):
        number = abs(hash(request.node.name))
        return lambda: milvus(f"milvus://{server}/test_{number}")
