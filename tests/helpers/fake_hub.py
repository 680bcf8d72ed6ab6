"""A Hub on this machine, in memory: `with FakeHub() as hub:` serves `hub.url`, for the unchanged huggingface_hub client.

It answers what huggingface_hub 2 asks of https://huggingface.co when it creates repositories, uploads (preupload, the LFS
batch protocol, commit), lists and downloads (tree, resolve with ETag, revisions), with the Hub's error codes. Left out are
Xet (set HF_HUB_DISABLE_XET=1), pull requests and all that has to do with Spaces, jobs and search.

Who may do what: `hub.tokens` maps a token to the namespaces it can write to; a private repository is seen by these alone.
`hub.fail(...)` makes requests fail as they fail in life. `hub.log` lists what was asked: (method, path).
"""

import hashlib
import json
import threading
from base64 import b64decode
from dataclasses import dataclass, field
from typing import NamedTuple

from fake_hub_metadata import card_header
from fake_hub_server import Fault, Reply, serve

LFS_SUFFIXES = (".safetensors", ".parquet", ".png", ".bin", ".onnx")
WRITER, READER = "hf_writer", "hf_reader"  # the tokens of every new FakeHub


class File(NamedTuple):
    """A file of a commit. Large ones lie in the LFS store, and git knows a pointer to them."""

    content: bytes
    is_lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git_oid(self) -> str:
        """The name git gives the file, or the pointer that stands for it."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()
        blob = pointer if self.is_lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.git_oid

    def entry(self, path: str) -> dict:
        """As a line of a tree."""
        lfs = {"lfs": {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}} if self.is_lfs else {}
        return {"type": "file", "path": path, "size": len(self.content), "oid": self.git_oid, **lfs}


class Commit(NamedTuple):
    """A state of a repository: path -> file."""

    sha: str
    title: str
    files: dict[str, File]


@dataclass
class Repository:
    """Commits of each branch, the newest last."""

    kind: str  # "model" or "dataset"
    name: str  # "org/name"
    private: bool
    branches: dict[str, list[Commit]] = field(default_factory=dict)

    def add_commit(self, branch: str, title: str, files: dict[str, File]) -> Commit:
        history = self.branches.setdefault(branch, [])
        parent = history[-1].sha if history else ""
        tree = "".join(f"{path} {file.git_oid}\n" for path, file in sorted(files.items()))
        sha = hashlib.sha1(f"{self.kind} {self.name} {branch} {len(history)} {parent} {title}\n{tree}".encode()).hexdigest()
        history.append(Commit(sha, title, files))
        return history[-1]

    def at(self, revision: str) -> Commit | None:
        """The commit that a branch or a sha names."""
        if revision in self.branches:
            return self.branches[revision][-1]
        return next((c for history in self.branches.values() for c in history if c.sha == revision), None)

    def info(self, commit: Commit) -> dict:
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        header = card_header(commit.files["README.md"].content.decode()) if "README.md" in commit.files else None
        times = dict.fromkeys(("createdAt", "lastModified"), "2026-01-01T00:00:00.000Z")
        common = {"id": self.name, "sha": commit.sha, "private": self.private, "gated": False, "disabled": False, "tags": []}
        card = {"cardData": header} if header else {}
        return {**common, **times, **card, "author": self.name.split("/")[0], "siblings": siblings, "downloads": 0, "likes": 0}


class FakeHub:
    """The Hub's state, and its answers. `url` is there between `with` and its end."""

    def __init__(self):
        self.tokens = {WRITER: ("org", "writer"), READER: ()}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}  # the LFS store
        self.log: list[tuple[str, str]] = []
        self.unknown: list[tuple[str, str]] = []  # requests that found no route
        self.tokens_at_store: set[str | None] = set()  # what came along when large files were fetched: nothing
        self.faults: list[Fault] = []
        self.lock = threading.RLock()

    def __enter__(self):
        # The store is another host, as in life: the client must carry the file's headers over, and leave its token behind.
        self.servers = serve(self), serve(self)
        names = ("127.0.0.1", "localhost")
        self.url, self.store_url = (f"http://{name}:{server.server_port}" for name, server in zip(names, self.servers))
        return self

    def __exit__(self, *error):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def fail(self, method: str, path: str, *, status: int = 0, message: str = "", times: int = 10**6) -> None:
        """Requests whose path contains `path` are answered with `status`, or, with 0, by a connection dropped half-way."""
        self.faults.append(Fault(method, path, status, message, times))

    def model(self, name: str) -> Repository:
        """The model repository `name`; KeyError where it does not exist."""
        return self.repositories["model", name]

    def files(self, name: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """The files of a repository: path -> content."""
        return {path: file.content for path, file in self.repositories[kind, name].at(revision).files.items()}

    # ---------------------------------------------------------------------------------------- repositories

    def may_write(self, name: str, token: str | None) -> bool:
        return name.split("/")[0] in self.tokens.get(token, ())

    def find(self, kind: str, name: str, token: str | None, write: bool = False) -> Repository | Reply:
        """The repository, or why not. As on the Hub, what may not be seen does not exist."""
        repository = self.repositories.get((kind, name))
        hidden = repository is None or (repository.private and not self.may_write(name, token))
        if write and token not in self.tokens or hidden and token is None:
            return Reply.error(401, "Invalid username or password.", "RepoNotFound" if hidden else None)
        if hidden:
            return Reply.error(404, "Repository not found", "RepoNotFound")
        if write and not self.may_write(name, token):
            return Reply.error(403, f"You don't have the rights to write to {name}.")
        return repository

    def whoami(self, token: str | None) -> Reply:
        if token not in self.tokens:
            return Reply.error(401, "Invalid username or password.")
        return Reply.json({"type": "user", "name": token, "orgs": [{"name": name} for name in self.tokens[token]]})

    def create_repository(self, token: str | None, body: bytes) -> Reply:
        asked = json.loads(body)
        name, kind = f"{asked['organization'] or 'writer'}/{asked['name']}", asked.get("type", "model")
        url = f"{self.url}/{'' if kind == 'model' else kind + 's/'}{name}"
        if token not in self.tokens:
            return Reply.error(401, "Invalid username or password.")
        if not self.may_write(name, token):
            return Reply.error(403, f"You don't have the rights to create a {kind} under this namespace: {name}")
        if (kind, name) in self.repositories:
            return Reply.json({"error": f"You already created this {kind} repo", "url": url}, 409)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.repositories[kind, name] = Repository(kind, name, private)
        self.repositories[kind, name].add_commit("main", "initial commit", {".gitattributes": File(b"", False)})
        return Reply.json({"url": url, "name": name, "id": "0"})

    def create_branch(self, repository: Repository, branch: str, body: bytes) -> Reply:
        if branch in repository.branches:
            return Reply.error(409, f"Reference already exists: {branch}")
        start = repository.at(json.loads(body or b"{}").get("startingPoint", "main"))
        repository.branches[branch] = [start]
        return Reply.json({"success": True}, 201)

    # --------------------------------------------------------------------------------------------- uploads

    def preupload(self, repository: Repository, commit: Commit, body: bytes) -> Reply:
        """Which files go to the LFS store, and what the Hub has under their names."""
        files = []
        for asked in json.loads(body)["files"]:
            known = commit.files.get(asked["path"])
            mode = "lfs" if asked["path"].endswith(LFS_SUFFIXES) else "regular"
            files.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": known and known.etag})
        return Reply.json({"files": files, "commitOid": commit.sha})

    def lfs_batch(self, repository: Repository, body: bytes) -> Reply:
        """Where to put each object; nothing to do for those in the store."""
        objects = []
        for asked in json.loads(body)["objects"]:
            actions = {} if asked["oid"] in self.objects else {"upload": {"href": f"{self.store_url}/lfs-store/{asked['oid']}"}}
            objects.append({"oid": asked["oid"], "size": asked["size"], **({"actions": actions} if actions else {})})
        return Reply.json({"transfer": "basic", "objects": objects})

    def put_object(self, oid: str, body: bytes) -> Reply:
        if hashlib.sha256(body).hexdigest() != oid:
            return Reply.error(400, "The content is not what its name says.")
        self.objects[oid] = body
        return Reply(200)

    def commit(self, repository: Repository, branch: str, body: bytes) -> Reply:
        """All operations or none."""
        lines = [json.loads(line) for line in body.splitlines()]
        title, files = lines[0]["value"]["summary"], dict(repository.at(branch).files)
        for key, value in ((line["key"], line["value"]) for line in lines[1:]):
            if key == "file":
                files[value["path"]] = File(b64decode(value["content"]), False)
            elif key == "lfsFile":
                if value["oid"] not in self.objects:
                    return Reply.error(400, f"No LFS object {value['oid']} for {value['path']}")
                files[value["path"]] = File(self.objects[value["oid"]], True)
            elif key == "deletedFile" and value["path"] in files:
                del files[value["path"]]
            else:
                return Reply.error(404, f"A file with this name doesn't exist: {value['path']}", "EntryNotFound")
        sha = repository.add_commit(branch, title, files).sha
        url = f"{self.url}/{repository.name}/commit/{sha}"
        return Reply.json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    # ------------------------------------------------------------------------------------------- downloads

    def tree(self, commit: Commit, folder: str, recursive: bool) -> Reply:
        """Files below `folder`; without `recursive`, those in it and its folders."""
        prefix = f"{folder}/" if folder else ""
        below = {path: file for path, file in sorted(commit.files.items()) if path.startswith(prefix)}
        if folder and not below:
            return Reply.error(404, f"{folder} does not exist", "EntryNotFound")
        names = {path.removeprefix(prefix).split("/")[0] for path in below if "/" in path.removeprefix(prefix)}
        folders = [{"type": "directory", "path": prefix + name, "size": 0, "oid": "0" * 40} for name in sorted(names)]
        deep = [file.entry(path) for path, file in below.items() if recursive or "/" not in path.removeprefix(prefix)]
        return Reply.json(folders + deep)

    def resolve(self, commit: Commit, path: str) -> Reply:
        """A file, or for a large one the way to the store; the headers are those that the client's cache lives on."""
        headers = {"X-Repo-Commit": commit.sha}
        if path not in commit.files:
            return Reply.error(404, "Entry not found", "EntryNotFound", headers)
        file = commit.files[path]
        if not file.is_lfs:
            return Reply(200, {**headers, "ETag": f'"{file.etag}"'}, file.content)
        linked = {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(len(file.content))}
        return Reply(302, {**headers, **linked, "Location": f"{self.store_url}/lfs-store/{file.sha256}"}, b"")

    def get_object(self, oid: str) -> Reply:
        if oid not in self.objects:
            return Reply.error(404, "No such object")
        return Reply(200, {"ETag": f'"{oid}"'}, self.objects[oid])
