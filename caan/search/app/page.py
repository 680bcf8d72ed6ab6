"""The page as gradio serves it: one `gr.HTML` with the pad, and the calls of `Server`. Nothing comes from outside.

`gr.Sketchpad` is not used: it fires nothing while the pen is down.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from caan.search.app.guard import Guard
from caan.search.app.server import Server
from caan.search.app.uploads import BODY_BYTES

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

try:
    import gradio as gr
    from starlette.middleware import Middleware
except ImportError as error:
    raise ImportError(f'The page needs gradio ({error}): pip install "caan[app]"') from error

HERE = Path(__file__).parent
TITLE = "Sketch search"
SCRIPTS = ("pad.js", "page.js", "detail.js", "input.js")  # one program, in this order


def read(name: str) -> str:
    """A file of this folder."""
    return (HERE / name).read_text(encoding="utf-8")


def make_page(server: Server) -> gr.Blocks:
    """The page of a server's galleries."""
    examples = json.dumps(json.loads(read("examples.json")))
    script = "\n".join([f"const EXAMPLES = {examples};", *map(read, SCRIPTS)])
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(
            html_template=read("page.html"),
            js_on_load=script,
            apply_default_css=False,
            server_functions=[as_function(call) for call in server.calls],
        )
    return page


def as_function(call: Callable[[Any], dict]) -> Callable[[Any], dict]:
    """A method as a plain function, which gradio marks as its own."""

    def function(request=None):
        return call(request)

    function.__name__ = call.__name__
    return function


def launch(page: gr.Blocks, hosts: set[str] | None, **settings: Any) -> Any:
    """Serves the page behind its guard; what `gr.Blocks.launch` gives.

    Args:
        hosts: names by which it may be asked for; None = any. settings: of `gr.Blocks.launch`: server_name, server_port, auth.
    """
    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return page.launch(
        theme=theme,
        head=f"<style>{read('pad.css')}</style>",
        app_kwargs={"middleware": [Middleware(Guard, limit=BODY_BYTES, hosts=hosts)], "docs_url": None, "redoc_url": None},
        share=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        quiet=True,
        **settings,
    )
