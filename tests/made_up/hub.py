"""A small Hugging Face Hub in memory, for tests: datasets and models are made, pushed to and read.

    with FakeHub() as hub:
        HfApi(endpoint=hub.url, token=hub.token)

It speaks the LFS protocol alone: clients must have Xet switched off (HF_HUB_DISABLE_XET).
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_LFS_SUFFIXES = (".parquet", ".safetensors", ".gz", ".bin")
_NAME = r"(?P<repo>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"


@dataclass
class Repository:
    """A repository: whether it is private, and all its commits, each with the files as they then were."""

    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the last commit."""
        return self.commits[-1]


@dataclass
class Answer:
    """Status, JSON or bytes, and headers."""

    status: int
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What a client asked for."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: bytes
    authorised: bool

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class FakeHub:
    """A Hub with one user, `user`, whose token is `hf_fake`.

    Attributes:
        repositories: name -> repository of a dataset.
        models: name -> repository of a model.
        blobs: SHA-256 -> bytes of an uploaded file, committed or not.
        requests: "METHOD path" of each request, in order.
        before: called with "METHOD path" before each answer; what it raises is answered with status 507.
    """

    token = "hf_fake"

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.models: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.before: Callable[[str], None] = lambda request: None
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FakeHub":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Request) -> Answer:
        """Answer one request; requests are answered one at a time."""
        with self._lock:
            self.requests.append(f"{request.method} {request.path}")
            self.before(self.requests[-1])
            for method, pattern, route in _ROUTES:
                match = re.fullmatch(pattern, request.path)
                if match and method in (request.method, "GET" if request.method == "HEAD" else None):
                    return self._guarded(route, request, match.groupdict(default=""))
        return Answer(404, {"error": f"the fake hub has no route for {self.requests[-1]}"})

    def _guarded(self, route: "Route", request: Request, parts: dict[str, str]) -> Answer:
        """A private repository does not exist for strangers, and nobody writes without a token."""
        repository = self._of_kind(parts).get(parts.get("repo", ""))
        hidden = repository is not None and repository.private and not request.authorised
        if "repo" in parts and (repository is None or hidden):
            return Answer(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
        if request.method in ("POST", "PUT") and not request.authorised and "blobs" not in request.path:
            return Answer(401, {"error": "a token is needed"})
        return route(self, request, parts)

    def _of_kind(self, parts: dict[str, str]) -> dict[str, Repository]:
        """The datasets or the models; addresses of models do not name their kind."""
        return self.repositories if parts.get("kind") == "datasets" else self.models

    def _create(self, request: Request, parts: dict[str, str]) -> Answer:
        wanted = request.json
        name = f"{wanted.get('organization') or 'user'}/{wanted['name']}"
        kind = "datasets" if wanted.get("type") == "dataset" else "models"
        url = f"{self.url}/datasets/{name}" if kind == "datasets" else f"{self.url}/{name}"
        repositories = self._of_kind({"kind": kind})
        if name in repositories:
            return Answer(409, {"error": "You already created this repo", "url": url})
        repositories[name] = Repository(private=wanted.get("visibility") == "private")
        return Answer(200, {"url": url, "name": name})

    def _info(self, request: Request, parts: dict[str, str]) -> Answer:
        repository = self._of_kind(parts)[parts["repo"]]
        siblings = [{"rfilename": name} for name in sorted(repository.files)]
        return Answer(
            200,
            {
                "id": parts["repo"],
                "sha": _sha(repository),
                "private": repository.private,
                "siblings": siblings,
                "tags": [],
                "downloads": 0,
                "likes": 0,
            },
        )

    def _tree(self, request: Request, parts: dict[str, str]) -> Answer:
        files = self._of_kind(parts)[parts["repo"]].files
        prefix = f"{parts['folder']}/" if parts.get("folder") else ""
        inside = {name: data for name, data in files.items() if name.startswith(prefix)}
        if prefix and not inside:
            return Answer(404, {"error": "no such folder"}, {"X-Error-Code": "EntryNotFound"})
        deep = request.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        folders = {
            prefix + "/".join(parents[: depth + 1])
            for parents in (name.removeprefix(prefix).split("/")[:-1] for name in inside)
            for depth in range(len(parents) if deep else min(len(parents), 1))
        }
        entries = [_folder_entry(name) for name in sorted(folders)]
        entries += [
            _file_entry(name, data)
            for name, data in sorted(inside.items())
            if deep or "/" not in name.removeprefix(prefix)
        ]
        return Answer(200, entries)

    def _paths_info(self, request: Request, parts: dict[str, str]) -> Answer:
        files = self._of_kind(parts)[parts["repo"]].files
        form = parse_qs(request.body.decode()) if not request.body.startswith(b"{") else request.json
        entries = []
        for path in form.get("paths", []):
            if path in files:
                entries.append(_file_entry(path, files[path]))
            elif any(name.startswith(f"{path}/") for name in files):
                entries.append(_folder_entry(path))
        return Answer(200, entries)

    def _preupload(self, request: Request, parts: dict[str, str]) -> Answer:
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(_LFS_SUFFIXES) else "regular",
                "shouldIgnore": False,
            }
            for file in request.json["files"]
        ]
        return Answer(200, {"files": modes})

    def _lfs_batch(self, request: Request, parts: dict[str, str]) -> Answer:
        objects = []
        for item in request.json["objects"]:
            upload = {"actions": {"upload": {"href": f"{self.url}/blobs/{item['oid']}"}}}
            objects.append({**item, **({} if item["oid"] in self.blobs else upload)})
        return Answer(200, {"transfer": "basic", "objects": objects})

    def _blob(self, request: Request, parts: dict[str, str]) -> Answer:
        if hashlib.sha256(request.body).hexdigest() != parts["oid"]:
            return Answer(400, {"error": "the bytes are not those that were announced"})
        self.blobs[parts["oid"]] = request.body
        return Answer(200)

    def _commit(self, request: Request, parts: dict[str, str]) -> Answer:
        repository = self._of_kind(parts)[parts["repo"]]
        files = dict(repository.files)
        for line in request.body.splitlines():
            key, value = json.loads(line)["key"], json.loads(line)["value"]
            if key == "header" and value.get("parentCommit") not in (None, _sha(repository)):
                return Answer(412, {"error": "A commit has happened since. Please refresh and try again."})
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.blobs[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        repository.commits.append(files)
        url = f"{self.url}/{parts['kind']}/{parts['repo']}/commit/{_sha(repository)}"
        return Answer(200, {"commitUrl": url, "commitOid": _sha(repository)})

    def _resolve(self, request: Request, parts: dict[str, str]) -> Answer:
        repository = self._of_kind(parts)[parts["repo"]]
        if parts["path"] not in repository.files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": _sha(repository)}
            return Answer(404, {"error": "no such file"}, headers)
        data = repository.files[parts["path"]]
        headers = {"X-Repo-Commit": _sha(repository), "ETag": f'"{_file_entry("", data)["oid"]}"'}
        return Answer(200, data, headers)


Route = Callable[[FakeHub, Request, dict[str, str]], Answer]

_API = rf"/api/(?P<kind>datasets|models)/{_NAME}"
_REPOSITORY = rf"/(?:(?P<kind>datasets)/)?{_NAME}"
_ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("POST", r"/api/repos/create", FakeHub._create),
    ("POST", r"/api/validate-yaml", lambda hub, request, parts: Answer(200, {"errors": [], "warnings": []})),
    ("GET", _API, FakeHub._info),
    ("GET", rf"{_API}/revision/{_REVISION}", FakeHub._info),
    ("GET", rf"{_API}/tree/{_REVISION}(?:/(?P<folder>.+))?", FakeHub._tree),
    ("POST", rf"{_API}/paths-info/{_REVISION}", FakeHub._paths_info),
    ("POST", rf"{_API}/preupload/{_REVISION}", FakeHub._preupload),
    ("POST", rf"{_API}/commit/{_REVISION}", FakeHub._commit),
    ("POST", rf"{_REPOSITORY}\.git/info/lfs/objects/batch", FakeHub._lfs_batch),
    ("PUT", r"/blobs/(?P<oid>[0-9a-f]+)", FakeHub._blob),
    ("GET", rf"{_REPOSITORY}/resolve/{_REVISION}/(?P<path>.+)", FakeHub._resolve),
)


def _sha(repository: Repository) -> str:
    """The name of the last commit: 40 hex digits, different for each."""
    return hashlib.sha1(f"{id(repository)} {len(repository.commits)}".encode()).hexdigest()


def _file_entry(path: str, data: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob}
    if path.endswith(_LFS_SUFFIXES):
        digest = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
    return entry


def _folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *message: object) -> None:
            """Say nothing."""

        def _serve(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            authorised = self.headers.get("Authorization") == f"Bearer {hub.token}"
            request = Request(self.command, unquote(url.path), parse_qs(url.query), body, authorised)
            try:
                answer = hub.answer(request)
            except Exception as error:  # a test's own failure, or a request that this hub misreads
                answer = Answer(507, {"error": repr(error)})  # 500 would be tried again
            self._send(answer)

        def _send(self, answer: Answer) -> None:
            is_bytes = isinstance(answer.body, bytes)
            data = answer.body if is_bytes else json.dumps(answer.body).encode()
            headers = {} if is_bytes else {"Content-Type": "application/json"}
            if answer.status == 200 and (wanted := self.headers.get("Range")):
                first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted).groups()  # type: ignore[union-attr]
                end = min(int(last or len(data) - 1), len(data) - 1)
                headers["Content-Range"] = f"bytes {first}-{end}/{len(data)}"
                answer.status, data = 206, data[int(first) : end + 1]
            self.send_response(answer.status)
            for name, value in {**headers, **answer.headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_HEAD = _serve  # noqa: N815 (the names that the server calls)

    return Handler
