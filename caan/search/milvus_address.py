"""Where a gallery on Milvus is, how it is connected to, and what Milvus's errors mean.

milvus://host:19530/holidays?replicas=2&shards=4     a server or cluster; options count when the gallery is made
milvus://user:password@host/holidays?tls=1           by https; CAAN_MILVUS_TOKEN in the environment goes before user:password
milvus+file:///data/photos.db/holidays               a file of Milvus Lite, on this machine
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from caan.errors import refuse_unknown

TOKEN = "CAAN_MILVUS_TOKEN"  # in the environment: so that no password stands in a command or a log
PORT = 19530
# The client asks an idle server every 10 seconds whether it is there; servers that allow it every 5 minutes, as gRPC's do where
# nothing else is set and Milvus Lite's does, end the connection for that.
KEEP_ALIVE = {"grpc.keepalive_time_ms": 330_000}
TIMEOUT = 60  # seconds for one answer; a server that is not there is told after as many, or at once
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")  # what Milvus takes as a collection's name
INDEXES: dict[str, dict[str, int]] = {  # and what each is built with
    "FLAT": {},  # exact
    "HNSW": {"M": 32, "efConstruction": 200},
    "AUTOINDEX": {},
}
INSTALL = 'Galleries on Milvus need its client: pip install -e ".[milvus]" in the repository.'
ACCESS = re.compile(r"auth|permission|privilege|denied|token", re.IGNORECASE)
UNREACHABLE = re.compile(
    r"fail connecting|unavailable|deadline|timeout|refused|illegal connection|closed channel", re.IGNORECASE
)


@dataclass(frozen=True)
class Address:
    """A gallery's place on Milvus.

    uri: as it may be shown, without a password. server: what the client takes, an address or a file. collection: the gallery's
    name; its collections begin with it. token: "user:password" or a token, "" = none. index: one of `INDEXES`. replicas and
    shards: of each collection. timeout: seconds for one answer.
    """

    uri: str
    server: str
    collection: str
    token: str = ""
    index: str = "FLAT"
    replicas: int = 1
    shards: int = 1
    timeout: float = TIMEOUT

    @property
    def file(self) -> str | None:
        """The file of Milvus Lite; None of a server."""
        return None if "://" in self.server else self.server

    @classmethod
    def parse(cls, uri: str) -> "Address":
        """Reads an address.

        Raises:
            ValueError: it is not complete, or names an unknown option.
        """
        parts = urlsplit(uri)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        options = {"replicas", "shards", "index", "timeout", "tls"}
        refuse_unknown(f"The address {shown} has an option that is not known:", given, options)
        place, _, collection = parts.path.rpartition("/")
        if parts.scheme == "milvus+file":
            server, whole = place, place.endswith(".db") and not parts.netloc
        else:
            try:
                port = parts.port or PORT
            except ValueError:
                port = 0
            server = f"http{'s' if given.get('tls', '0') != '0' else ''}://{parts.hostname}:{port}"
            whole = bool(parts.hostname and port and not place)
        if not whole or not NAME.fullmatch(collection):
            raise ValueError(
                f"{shown} is no address of a gallery on Milvus: milvus://HOST:{PORT}/NAME or milvus+file:///FOLDER/FILE.db/"
                "NAME, with a NAME of letters, digits and underscores."
            )
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
        return cls(shown, server, collection, os.environ.get(TOKEN) or user, **read_options(shown, given))


def read_options(shown: str, given: dict[str, str]) -> dict[str, Any]:
    """Options of an address by the names of `Address`'s fields. Raises ValueError for a value out of range."""
    options: dict[str, Any] = {}
    for name in ("replicas", "shards", "timeout"):
        if name in given:
            if not re.fullmatch(r"[1-9]\d{0,4}", given[name]):
                raise ValueError(f"{shown}: {name} must be a whole number of at least 1, not {given[name]!r}.")
            options[name] = int(given[name])
    if "index" in given:
        refuse_unknown(f"{shown}: Milvus galleries have no index", [given["index"].upper()], INDEXES)
        options["index"] = given["index"].upper()
    return options


def connect(address: Address) -> Any:
    """A client of Milvus.

    Raises:
        ImportError: no client is installed. OSError: the server does not answer. PermissionError: it lets nobody in.
    """
    try:
        from pymilvus import MilvusClient

        if address.file:
            import milvus_lite  # noqa: F401  the client would say less clearly that it is missing
    except ImportError as error:
        raise ImportError(f"{INSTALL} ({error})") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints the stack of each error that it raises
    with checked(address):
        return MilvusClient(address.server, token=address.token, timeout=address.timeout, grpc_options=KEEP_ALIVE)


@contextmanager
def checked(address: Address) -> Iterator[None]:
    """Errors of Milvus as errors that name the gallery and the cure."""
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        said = " ".join(str(error.message).split())[:300]
        if ACCESS.search(said):
            raise PermissionError(
                f"Milvus lets nobody into {address.uri} with these credentials: set {TOKEN}=USER:PASSWORD. ({said})"
            ) from error
        if address.file and re.search(r"lock|in use|open local milvus", said, re.IGNORECASE):
            raise OSError(
                f"{address.file} cannot be opened: another process uses it (Milvus Lite takes one at a time), or it is "
                f"damaged. ({said})"
            ) from error
        if UNREACHABLE.search(said):
            raise OSError(
                f"Milvus does not answer at {address.uri}: is the server running, and the port right? ({said})"
            ) from error
        raise OSError(f"Milvus refused it at {address.uri}: {said}") from error
