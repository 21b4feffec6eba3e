"""A stand-in of the Hugging Face hub on this machine: the requests of its real client, answered from memory."""

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in_0123456789"


class Repository:
    """Branches of commits, each a mapping of paths to contents."""

    def __init__(self, files=None, private=False, gated=False):
        self.commits, self.branches, self.private, self.gated = {}, {}, private, gated
        self.message = None
        self.commit("main", files or {})

    def commit(self, branch, files, message=""):
        content = {**self.commits.get(self.branches.get(branch), {}), **files}
        told = f"{len(self.commits)}{sorted((k, hashlib.sha256(v).hexdigest()) for k, v in content.items())}"
        number = hashlib.sha1(told.encode()).hexdigest()
        self.commits[number], self.branches[branch], self.message = content, number, message
        return number

    def number(self, revision):
        return self.branches.get(revision, revision if revision in self.commits else None)


class Hub:
    """What the server knows, and what it was asked."""

    def __init__(self):
        self.repositories, self.objects, self.asked, self.sent = {}, {}, [], []
        self.page = None  # answered to everything, as by a hotel's network

    def put(self, **files):
        """Make ``me/bokeh`` a repository of these files, whose names are written with ``_`` for their dots."""
        self.repositories["me/bokeh"] = Repository({name.replace("_", "."): text for name, text in files.items()})
        return self.repositories["me/bokeh"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, content=b"", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_request(self):
        hub = self.server.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        hub.asked.append(f"{self.command} {path}")
        hub.sent.append(body)
        if hub.page is not None:
            self.answer(200, hub.page)
            return
        for pattern, answer in ROUTES.items():
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                answer(self, hub, body, *match.groups())
                return
        self.answer(404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_request  # noqa: N815

    def trusted(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def found(self, hub, name):
        """The repository; None, and answered, where this client may not know of it."""
        repository = hub.repositories.get(name)
        if repository is None or (repository.private and not self.trusted()):
            self.answer(404 if self.trusted() else 401, X_Error_Code="RepoNotFound")
            return None
        return repository


def _info(handler, hub, body, name, revision=None):
    repository = handler.found(hub, name)
    if repository is None:
        return
    number = repository.number(revision or "main")
    if number is None:
        handler.answer(404, X_Error_Code="RevisionNotFound")
        return
    files = [{"rfilename": path, "size": len(content)} for path, content in repository.commits[number].items()]
    handler.answer(200, {"id": name, "sha": number, "private": repository.private, "siblings": files})


def _file(handler, hub, body, name, revision, path):
    repository = handler.found(hub, name)
    if repository is None:
        return
    if repository.gated and not handler.trusted():
        handler.answer(401, X_Error_Code="GatedRepo")
        return
    number = repository.number(revision)
    content = repository.commits[number].get(path)
    if content is None:
        handler.answer(404, X_Error_Code="EntryNotFound")
        return
    handler.answer(200, content, X_Repo_Commit=number, ETag=f'"{hashlib.sha256(content).hexdigest()}"')


def _create(handler, hub, body):
    asked = json.loads(body)
    name = f"{asked['organization']}/{asked['name']}"
    if not handler.trusted():
        handler.answer(401)
    elif asked["organization"] != "me":
        handler.answer(403)
    elif name in hub.repositories:
        handler.answer(409, {"url": f"/{name}"})
    else:
        hub.repositories[name] = Repository(private=asked.get("visibility") == "private" or asked.get("private", False))
        handler.answer(200, {"url": f"{handler.server.address}/{name}"})


def _branch(handler, hub, body, name, branch):
    repository = hub.repositories[name]
    if branch in repository.branches:
        handler.answer(409)
    else:
        repository.branches[branch] = repository.branches["main"]
        handler.answer(200)


def _modes(handler, hub, body, name, revision):
    files = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
            "shouldIgnore": False,
        }
        for file in json.loads(body)["files"]
    ]
    handler.answer(200, {"files": files})


def _batch(handler, hub, body, name):
    objects = [
        {**wanted, "actions": {"upload": {"href": f"{handler.server.address}/objects/{wanted['oid']}"}}}
        for wanted in json.loads(body)["objects"]
    ]
    handler.answer(200, {"transfer": "basic", "objects": objects})


def _keep(handler, hub, body, oid):
    if hashlib.sha256(body).hexdigest() == oid:
        hub.objects[oid] = body
        handler.answer(200)
    else:
        handler.answer(400)


def _commit(handler, hub, body, name, revision):
    if not handler.trusted():
        handler.answer(401)
        return
    lines = [json.loads(line) for line in body.splitlines()]
    files = {}
    for line in lines:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            files[value["path"]] = hub.objects[value["oid"]]
    number = hub.repositories[name].commit(revision, files, lines[0]["value"]["summary"])
    handler.answer(200, {"commitUrl": f"/{name}/commit/{number}", "commitOid": number, "success": True})


ROUTES = {
    r"GET /api/models/([^/]+/[^/]+)": _info,
    r"GET /api/models/([^/]+/[^/]+)/revision/([^/]+)": _info,
    r"(?:GET|HEAD) /([^/]+/[^/]+)/resolve/([^/]+)/(.+)": _file,
    r"POST /api/repos/create": _create,
    r"POST /api/validate-yaml": lambda handler, hub, body: handler.answer(200, {"warnings": [], "errors": []}),
    r"POST /api/models/([^/]+/[^/]+)/branch/([^/]+)": _branch,
    r"POST /api/models/([^/]+/[^/]+)/preupload/([^/]+)": _modes,
    r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch": _batch,
    r"PUT /objects/([0-9a-f]{64})": _keep,
    r"POST /api/models/([^/]+/[^/]+)/commit/([^/]+)": _commit,
}


@contextmanager
def serving():
    """A server on this machine alone; yields what it knows, with its ``address`` and how to ``stop`` it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.hub = Hub()
    server.address = server.hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()

    def stop():
        server.shutdown()
        server.server_close()
        thread.join()

    server.hub.stop = stop
    yield server.hub
    if thread.is_alive():
        stop()
