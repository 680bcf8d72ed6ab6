"""A Hub Space that serves one public gallery: the folder that is pushed, and what its app.py calls."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template

from caan.options import AppOptions

HERE = Path(__file__).parent
ADDRESS = re.compile(r"hf://datasets/[\w.-]+/[\w.-]+")  # whose name is put into a program and a page
APP = '''"""{title}"""

from caan.search.app.space import serve

serve("{gallery}")
'''


def write_space(folder: str, gallery: str) -> Path:
    """Writes app.py, requirements.txt and README.md; returns the folder.

    Raises:
        ValueError: the gallery is no data set on the Hub, or the folder holds an app already.
    """
    require_public(gallery)
    place = Path(folder)
    if (place / "app.py").exists():
        raise ValueError(f"{place} holds an app.py already: give another folder, or remove it.")
    place.mkdir(parents=True, exist_ok=True)
    dataset = gallery.removeprefix("hf://datasets/")
    title = f"Sketch search in {dataset.partition('/')[2]}"
    gradio = gradio_version()
    (place / "app.py").write_text(APP.format(title=title, gallery=gallery), encoding="utf-8")
    (place / "requirements.txt").write_text(f"caan[app]=={version('caan')}\n", encoding="utf-8")
    readme = Template((HERE / "space_readme.md").read_text(encoding="utf-8"))
    (place / "README.md").write_text(readme.substitute(title=title, dataset=dataset, gradio=gradio), encoding="utf-8")
    return place


def gradio_version() -> str:
    """The version of gradio that the Space asks for: the one that is installed here."""
    try:
        return version("gradio")
    except PackageNotFoundError as error:
        raise ImportError('A Space needs the version of gradio: pip install "caan[app]"') from error


def require_public(gallery: str) -> None:
    """Raises ValueError for a gallery that is no data set on the Hub: files of the server's disk are never served."""
    if not ADDRESS.fullmatch(gallery):
        raise ValueError(f"A Space serves hf://datasets/ORG/NAME alone, not {gallery}.")


def serve(gallery: str) -> None:
    """Serves a gallery of the Hub to everyone; what a Space's app.py calls."""
    from caan.search.app.page import launch, make_page
    from caan.search.app.ready import ready_server

    require_public(gallery)
    server = ready_server(AppOptions(gallery=gallery), others=False)
    launch(make_page(server), hosts=None)
