"""The fixture `hub`, a fake Hub that this process's client speaks to, and the environment of a process of its own."""

import os
import time
from types import SimpleNamespace

import pytest
from fake_hub import WRITER, FakeHub
from huggingface_hub import constants


def hub_environment(hub: FakeHub, home, token: str | None = WRITER, offline: bool = False) -> dict[str, str]:
    """Environment variables of a fresh process that uses `hub`, with its cache in `home`."""
    left_out = {"HF_TOKEN", "HF_HUB_OFFLINE", "PYTHONPATH"} | {name for name in os.environ if name.lower().endswith("_proxy")}
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    settings |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    settings |= {"HF_TOKEN": token} if token else {}
    return {name: value for name, value in os.environ.items() if name not in left_out} | settings


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A fake Hub; the client reads its settings when it is imported, so they are set where it keeps them. It never waits."""
    with FakeHub() as hub:
        settings = {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(tmp_path / "hub-cache"),
        }
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        no_wait = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
        monkeypatch.setattr("huggingface_hub.utils._http.time", no_wait)
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        yield hub
