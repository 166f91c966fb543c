"""The Hub on loopback, in memory, with as much of its HTTP as the real client needs to create and to commit.

    with HubServer() as server:
        env = server.environment(home)      # for a subprocess
        ...
        server.files("me/model")["README.md"]

Weights go by the LFS protocol and are kept by their sha256, as on the Hub; everything else is in the commit itself.
"""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.loopback import LoopbackServer

USER = "me"
TOKEN = "hf_" + "s" * 34


class HubServer(LoopbackServer):
    """State: `repos` {id: {path: content}}, `commits` [(repository, message, paths)], `requests`."""

    def __init__(self):
        super().__init__(Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.commits: list[tuple[str, str, list[str]]] = []
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []

    def environment(self, home: Path) -> dict[str, str]:
        """Variables that lead the client here and keep its files under `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def files(self, repo: str) -> dict[str, bytes]:
        """What a repository holds."""
        return self.repos[repo]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args) -> None:
        """Say nothing."""

    def answer(self, content: object, status: int = 200) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        """The request's body, whether it says its length or comes in chunks."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def handle_one(self) -> None:
        """Find the route."""
        hub: HubServer = self.server.owner
        path = unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path}")
        body = self.body()
        if path.startswith("/blob/"):
            hub.blobs[path.removeprefix("/blob/")] = body
            self.answer({})
            return
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid credentials"}, 401)
            return
        for pattern, method in ROUTES:
            found = re.fullmatch(pattern, f"{self.command} {path}")
            if found:
                method(self, hub, body, *found.groups())
                return
        self.answer({"error": f"no route {path}"}, 404)

    do_GET = do_POST = do_PUT = handle_one

    def whoami(self, hub: HubServer, body: bytes) -> None:
        """Who a token belongs to."""
        self.answer({"type": "user", "name": USER, "auth": {"type": "access_token"}})

    def create(self, hub: HubServer, body: bytes) -> None:
        """A new repository, or 409 for one that is there."""
        asked = json.loads(body)
        repo = f"{asked.get('organization') or USER}/{asked['name']}"
        is_new = repo not in hub.repos
        hub.repos.setdefault(repo, {})
        self.answer({"url": f"{hub.url}/{repo}", "id": repo, "name": repo}, 200 if is_new else 409)

    def preupload(self, hub: HubServer, body: bytes, repo: str) -> None:
        """How each file is to come: weights and what is no text by LFS."""
        files = []
        for file in json.loads(body)["files"]:
            binary = file["path"].endswith((".safetensors", ".png", ".pt", ".pth"))
            mode = "lfs" if binary else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        self.answer({"files": files})

    def batch(self, hub: HubServer, body: bytes, repo: str) -> None:
        """Where the content of LFS files goes."""
        objects = []
        for wanted in json.loads(body)["objects"]:
            upload = {"href": f"{hub.url}/blob/{wanted['oid']}", "header": {}}
            objects.append({**wanted, "actions": {"upload": upload}})
        self.answer({"transfer": "basic", "objects": objects})

    def validate(self, hub: HubServer, body: bytes) -> None:
        """The metadata of a card: the Hub refuses what is not YAML between two lines of `---`."""
        self.answer({"errors": [], "warnings": []})

    def commit(self, hub: HubServer, body: bytes, repo: str) -> None:
        """Add files; the content of LFS files must have come before, and be what its sha256 says."""
        message, paths = "", []
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
                continue
            content = hub.blobs[value["oid"]] if entry["key"] == "lfsFile" else b""
            if entry["key"] == "file":
                content = base64.b64decode(value["content"])
            elif hashlib.sha256(content).hexdigest() != value["oid"]:
                self.answer({"error": "the content is not what its sha256 says"}, 400)
                return
            hub.repos[repo][value["path"]] = content
            paths.append(value["path"])
        hub.commits.append((repo, message, paths))
        oid = f"{len(hub.commits):040x}"
        self.answer(
            {"commitUrl": f"{hub.url}/{repo}/commit/{oid}", "commitOid": oid, "success": True}
        )


REPO = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    (r"GET /api/whoami-v2", Handler.whoami),
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", Handler.validate),
    (rf"POST /api/models/{REPO}/preupload/\w+", Handler.preupload),
    (rf"POST /api/models/{REPO}/commit/\w+", Handler.commit),
    (rf"POST /{REPO}\.git/info/lfs/objects/batch", Handler.batch),
]
