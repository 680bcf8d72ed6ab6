"""A server that answers its first request as quickly as the later ones."""

from PIL import Image, ImageDraw

from caan.options import AppOptions
from caan.search.app.galleries import Galleries
from caan.search.app.server import Server


def ready_server(options: AppOptions, others: bool = True) -> Server:
    """A server whose first gallery is open, its model loaded and run once.

    Raises:
        ValueError: there is no such gallery, it is empty, or its model cannot be loaded.
    """
    server = Server(Galleries(options, others))
    gallery = server.galleries.get(server.galleries.first)
    sketch = Image.new("RGB", (256, 256), "white")
    ImageDraw.Draw(sketch).ellipse((40, 60, 210, 200), outline="black", width=4)
    if gallery.engine.count():
        gallery.search(sketch, top_k=1)
    server.galleries.folders(server.galleries.first)
    return server
