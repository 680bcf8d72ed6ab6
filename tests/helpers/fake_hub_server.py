"""The HTTP side of the Hub on this machine: which address asks what of `fake_hub.FakeHub`, ranges, and failures on demand."""

import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from fake_hub_metadata import metadata_errors

API = r"/api/(model|dataset)s/([^/]+/[^/]+)"
REPO = r"/(datasets/)?([^/]+/[^/]+?)"
ROUTES = {  # method and address -> handler
    ("GET", r"/api/whoami-v2"): "whoami",
    ("POST", r"/api/repos/create"): "create",
    ("POST", r"/api/validate-yaml"): "validate",
    ("GET", rf"{API}/auth-check/write"): "may_write",
    ("POST", rf"{API}/branch/([^/]+)"): "branch",
    ("POST", rf"{API}/preupload/([^/]+)"): "preupload",
    ("POST", rf"{API}/commit/([^/]+)"): "commit",
    ("POST", rf"{REPO}\.git/info/lfs/objects/batch"): "lfs_batch",
    ("PUT", r"/lfs-store/(\w+)"): "put_object",
    ("GET", r"/lfs-store/(\w+)"): "get_object",
    ("GET", rf"{API}(?:/revision/([^/]+))?"): "info",
    ("GET", rf"{API}/refs"): "refs",
    ("GET", rf"{API}/commits/([^/]+)"): "commits",
    ("GET", rf"{API}/tree/([^/]+)(?:/(.+))?"): "tree",
    ("POST", rf"{API}/paths-info/([^/]+)"): "paths_info",
    ("GET", rf"{REPO}/resolve/([^/]+)/(.+)"): "resolve",
}


class Fault(NamedTuple):
    """A failure to come: `times` requests of `method` whose path contains `path`."""

    method: str
    path: str
    status: int  # 0 = the connection is dropped half-way
    message: str
    times: int


class Reply(NamedTuple):
    """What goes back."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""

    @classmethod
    def json(cls, content, status: int = 200) -> "Reply":
        return cls(status, {"Content-Type": "application/json"}, json.dumps(content).encode())

    @classmethod
    def error(cls, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None) -> "Reply":
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        return cls(status, {"Content-Type": "application/json", **headers}, json.dumps({"error": message}).encode())


def serve(hub) -> ThreadingHTTPServer:
    """A server on a free port of this machine, running in a thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


class Handler(BaseHTTPRequestHandler):
    """One connection. Methods named in `ROUTES` get the groups of the address and give a `Reply`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self):
        parts = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        method = "GET" if self.command == "HEAD" else self.command
        with self.hub.lock:
            self.hub.log.append((self.command, parts.path))
            fault = self.take_fault()
        if fault is not None and fault.status == 0 and self.command != "GET":
            return self.drop()
        self.body = self.read_body()
        if fault is not None and fault.status:
            return self.send(Reply.error(fault.status, fault.message))
        with self.hub.lock:
            for (route_method, pattern), name in ROUTES.items():
                if method == route_method and (match := re.fullmatch(pattern, parts.path)):
                    groups = [None if group is None else unquote(group) for group in match.groups()]
                    return self.send(getattr(self, name)(*groups), truncated=fault is not None)
            self.hub.unknown.append((self.command, self.path))
        return self.send(Reply.error(404, "This fake Hub has no such address"))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    # --------------------------------------------------------------------------------------------- transport

    def take_fault(self) -> Fault | None:
        faults = self.hub.faults
        for i, fault in enumerate(faults):
            if fault.method == self.command and fault.path in self.path and fault.times:
                faults[i] = fault._replace(times=fault.times - 1)
                return fault
        return None

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, reply: Reply, truncated: bool = False):
        status, headers, body = reply
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted and status == 200:
            first, last = int(wanted[1]), min(int(wanted[2] or len(body) - 1), len(body) - 1)
            headers = {**headers, "Content-Range": f"bytes {first}-{last}/{len(body)}"}
            status, body = 206, body[first : last + 1]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "Accept-Ranges": "bytes"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if truncated else body)
        if truncated:
            self.drop()

    def drop(self):
        """Ends the connection in the middle of things."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    # ------------------------------------------------------------------------------------------------ routes

    def at(self, kind: str, name: str, revision: str | None, write: bool = False):
        """(repository, commit), or a `Reply` that says why not."""
        repository = self.hub.find(kind, name, self.token, write)
        if isinstance(repository, Reply):
            return repository
        commit = repository.at(revision or "main")
        return (repository, commit) if commit else Reply.error(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def whoami(self):
        return self.hub.whoami(self.token)

    def create(self):
        return self.hub.create_repository(self.token, self.body)

    def validate(self):
        asked = json.loads(self.body)
        errors = [{"message": message} for message in metadata_errors(asked["content"], asked["repoType"])]
        return Reply.json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def may_write(self, kind, name):
        found = self.at(kind, name, None, write=True)
        return found if isinstance(found, Reply) else Reply.json({})

    def branch(self, kind, name, branch):
        found = self.at(kind, name, None, write=True)
        return found if isinstance(found, Reply) else self.hub.create_branch(found[0], branch, self.body)

    def preupload(self, kind, name, revision):
        found = self.at(kind, name, revision, write=True)
        return found if isinstance(found, Reply) else self.hub.preupload(*found, self.body)

    def commit(self, kind, name, branch):
        found = self.at(kind, name, branch, write=True)
        return found if isinstance(found, Reply) else self.hub.commit(found[0], branch, self.body)

    def lfs_batch(self, prefix, name):
        found = self.at("dataset" if prefix else "model", name, None, write=True)
        return found if isinstance(found, Reply) else self.hub.lfs_batch(found[0], self.body)

    def put_object(self, oid):
        return self.hub.put_object(oid, self.body)

    def get_object(self, oid):
        self.hub.tokens_at_store.add(self.token)
        return self.hub.get_object(oid)

    def info(self, kind, name, revision):
        found = self.at(kind, name, revision)
        return found if isinstance(found, Reply) else Reply.json(found[0].info(found[1]))

    def refs(self, kind, name):
        found = self.at(kind, name, None)
        if isinstance(found, Reply):
            return found
        branches = found[0].branches.items()
        heads = [{"name": b, "ref": f"refs/heads/{b}", "targetCommit": history[-1].sha} for b, history in branches]
        return Reply.json({"branches": heads, "tags": [], "converts": []})

    def commits(self, kind, name, branch):
        found = self.at(kind, name, branch)
        if isinstance(found, Reply):
            return found
        when = {"authors": [], "date": "2026-01-01T00:00:00.000Z", "message": ""}
        return Reply.json([{"id": c.sha, "title": c.title, **when} for c in reversed(found[0].branches[branch])])

    def tree(self, kind, name, revision, folder):
        found = self.at(kind, name, revision)
        recursive = self.query.get("recursive", "").lower() == "true"
        return found if isinstance(found, Reply) else self.hub.tree(found[1], folder or "", recursive)

    def paths_info(self, kind, name, revision):
        found = self.at(kind, name, revision)
        if isinstance(found, Reply):
            return found
        files = found[1].files
        return Reply.json([files[p].entry(p) for p in parse_qs(self.body.decode()).get("paths", []) if p in files])

    def resolve(self, prefix, name, revision, path):
        found = self.at("dataset" if prefix else "model", name, revision)
        return found if isinstance(found, Reply) else self.hub.resolve(found[1], path)
