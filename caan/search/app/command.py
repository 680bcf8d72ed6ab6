"""Search a gallery in the browser: draw on a pad, and see the photos that are like it while you draw.

    caan app                                                 # the gallery "default", at http://127.0.0.1:7860
    caan app --gallery holidays --port 8000
    caan app --host 0.0.0.0 --auth anna:secret               # for others in your network, who must know the password
    caan app --gallery hf://datasets/org/holidays --space space/    # a folder that `hf upload --repo-type space` publishes

Needs gradio: pip install "caan[app]". Only this machine reaches the page unless --host says otherwise. It sends nothing
anywhere, and asks no other server for anything. Requests of more than 5 MB and pictures of more than 4 million pixels are
refused before they are decoded. Memory: besides the model and the gallery at most 1 GB, whatever is asked, since requests wait
for their turn. docs/app.md says more.

exit status: 0 done; 1 bad input; 2 wrong options; 130 stopped with Ctrl-C; 143 stopped by SIGTERM.
"""

from __future__ import annotations

from caan.errors import exit_on_error
from caan.options import AppOptions, is_loopback
from caan.parsing import OptionParser


def main(argv: list[str], prog: str) -> int:
    """Runs the command; returns the exit status."""
    parser = OptionParser((AppOptions,), prog=prog, description=__doc__)
    options = parser.fill(argv)[0]
    with exit_on_error(prog):
        if options.space:
            space(options.space, options.gallery)
        else:
            serve(options)
    return 0


def space(place: str, gallery: str) -> None:
    """Writes the Space, and says how it is published."""
    from caan.search.app.space import write_space

    folder = write_space(place, gallery)
    print(f"written: {folder}; publish it: hf upload ORG/NAME {folder} --repo-type space")


def serve(options: AppOptions) -> None:
    """Serves the page until it is stopped."""
    from caan.search.app.page import launch, make_page  # first: it names the missing extra
    from caan.search.app.ready import ready_server

    server = ready_server(options)
    user, _, password = (options.auth or "").partition(":")
    host = options.host.strip("[]")
    host = f"[{host}]" if ":" in host else host  # IPv6, as gradio and browsers write it
    try:
        app, address, _ = launch(
            make_page(server),
            hosts={"127.0.0.1", "localhost", "[::1]", host} if is_loopback(options.host) else None,
            server_name=host,
            server_port=options.port,
            auth=(user, password) if options.auth else None,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise ValueError(
            f"The page cannot be served at {host}:{options.port}: the port is taken, and --port gives another one; or the "
            "address is none of this machine."
        ) from error
    print(f"the gallery {server.galleries.first} is at {address.rstrip('/')} (Ctrl-C stops it)", flush=True)
    wait_for_ever()


def wait_for_ever() -> None:
    """Returns never: a signal raises."""
    import threading

    threading.Event().wait()
