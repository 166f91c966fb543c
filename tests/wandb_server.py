"""A W&B server on loopback, in memory, with as much of the protocol as the real client needs to track and store.

    with WandbServer() as server:
        env = server.environment(home)      # for a subprocess; or os.environ.update(...)
        ...
        server.runs["id"]["summary"], server.alias("name", "best")

`server.fault` may be set to a function of the path (`graphql/CommitArtifact`, `blob/...`, `files/...`) that returns 500
to answer with that status, `cut` to close the connection, or None.
"""

import base64
import gzip
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.loopback import LoopbackServer
from tests.wandb_sweeps import Sweeps

ENTITY, PROJECT, DATE = "team", "project", "2026-01-01T00:00:00Z"
KEY = "k" * 39 + "1"


class WandbServer(Sweeps, LoopbackServer):
    """State by name: `runs` {id: ...}, `collections` {name: {"versions", "aliases"}}, `artifacts` {id: ...}."""

    def __init__(self):
        Sweeps.__init__(self)
        LoopbackServer.__init__(self, Handler, Listener)
        self.runs: dict[str, dict] = {}
        self.artifacts: dict[str, dict] = {}
        self.collections: dict[str, dict] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.fault: Callable[[str], object] = lambda path: None
        self.lock = threading.RLock()

    def environment(self, home: Path) -> dict[str, str]:
        """Variables that lead the client here and keep its files under `home`."""
        return {
            **{
                "WANDB_MODE": "online",
                "WANDB_BASE_URL": self.url,
                "WANDB_API_KEY": KEY,
                "NO_PROXY": "127.0.0.1",
            },
            **{
                "WANDB_ENTITY": ENTITY,
                "WANDB_PROJECT": PROJECT,
                "HOME": str(home),
                "WANDB_DIR": str(home),
            },
            **{
                f"WANDB_{name}_DIR": str(home / name.lower())
                for name in ("CACHE", "DATA", "CONFIG")
            },
            "TRAINER_EXT_ARTIFACTS": str(home / "store"),
        }

    def alias(self, name: str, alias: str) -> int | None:
        """The number of the version that has the alias."""
        found = self.collections.get(name, {"aliases": {}})["aliases"].get(alias)
        return None if found is None else self.artifacts[found]["version"]

    def models(self) -> list[str]:
        """Names of the collections of models."""
        return sorted(
            name for name, collection in self.collections.items() if collection["type"] == "model"
        )

    def version(self, name: str, number: int) -> dict:
        """One version of a collection."""
        return self.artifacts[self.collections[name]["versions"][number]]

    def contents(self, name: str, number: int) -> dict[str, bytes]:
        """The files of a version."""
        entries = self.manifest(self.version(name, number))
        return {path: self.blobs[to_hex(entry["digest"])] for path, entry in entries.items()}

    def manifest(self, artifact: dict) -> dict[str, dict]:
        """Entries by path."""
        return json.loads(self.blobs[artifact["manifest"]])["contents"]

    # What the client sees of the state.

    def project(self) -> dict:
        return {
            "__typename": "Project",
            "id": "P",
            "internalId": "I",
            "name": PROJECT,
            "entity": {"name": ENTITY},
        }

    def collection(self, name: str) -> dict:
        found = {
            "__typename": "ArtifactSequence",
            "id": name,
            "name": name,
            "description": None,
            "createdAt": DATE,
        }
        return {
            **found,
            "project": self.project(),
            "type": {"name": self.collections[name]["type"]},
        }

    def aliases_of(self, artifact: dict) -> list[dict]:
        at = self.collections[artifact["name"]]["aliases"]
        found = [alias for alias, identity in at.items() if identity == artifact["id"]]
        about = self.collection(artifact["name"])
        return [
            {"__typename": "ArtifactAlias", "id": a, "alias": a, "artifactCollection": about}
            for a in found
        ]

    def full(self, artifact: dict) -> dict:
        plain = {
            key: artifact[key]
            for key in ("id", "description", "metadata", "state", "digest", "size")
        }
        fixed = {"ttlDurationSeconds": -1, "ttlIsInherited": True, "tags": [], "historyStep": None}
        about = {
            "artifactSequence": self.collection(artifact["name"]),
            "versionIndex": artifact["version"],
        }
        about |= {
            "artifactType": {"name": self.collections[artifact["name"]]["type"]},
            "commitHash": "c",
        }
        about |= {"fileCount": artifact["files"], "createdAt": DATE, "updatedAt": DATE}
        return {
            "__typename": "Artifact",
            **plain,
            **fixed,
            **about,
            "aliases": self.aliases_of(artifact),
        }

    def find(self, name: str, alias: str) -> dict | None:
        collection = self.collections.get(name)
        if collection is None:
            return None
        identity = collection["aliases"].get(alias)
        if (
            identity is None
            and re.fullmatch(r"v\d+", alias)
            and int(alias[1:]) < len(collection["versions"])
        ):
            identity = collection["versions"][int(alias[1:])]
        return self.artifacts.get(identity)

    def run(self, run: dict) -> dict:
        named = {key: run[key] for key in ("name", "displayName", "jobType", "tags", "state")}
        text = {"config": json.dumps(run["config"]), "summaryMetrics": json.dumps(run["summary"])}
        return {
            "__typename": "Run",
            "id": run["name"],
            **named,
            **text,
            "group": run["groupName"],
            "project": self.project(),
        }

    # Operations: `variables`, flat, to `data`.

    def Viewer(self, v):
        return {
            "viewer": {
                "id": "U",
                "entity": ENTITY,
                "username": "someone",
                "flags": "{}",
                "teams": edges([]),
            }
        }

    GetDefaultEntity = GetViewer = Viewer

    def UpsertBucket(self, v):
        empty = {
            "groupName": None,
            "jobType": None,
            "tags": [],
            "displayName": v["name"],
            "config": {},
            "summary": {},
        }
        new = {"name": v["name"], **empty, "history": [], "files": {}, "state": "running"}
        run = self.runs.setdefault(v["name"], new)
        run |= {
            key: v[key]
            for key in ("groupName", "jobType", "tags", "displayName", "sweep")
            if v.get(key) is not None
        }
        if v.get("config"):
            run["config"] = json.loads(v["config"])
        if v.get("summaryMetrics"):
            run["summary"] = json.loads(v["summaryMetrics"])
        return {"upsertBucket": {"bucket": self.run(run), "inserted": run is new}}

    def RunResumeStatus(self, v):
        run = self.runs.get(v["name"])
        bucket = None
        if run is not None:
            counts = {
                "historyLineCount": len(run["history"]),
                "eventsLineCount": 0,
                "logLineCount": 0,
            }
            tail = json.dumps([json.dumps(row) for row in run["history"][-1:]])
            text = {
                "historyTail": tail,
                "eventsTail": "[]",
                "wandbConfig": '{"t": 1}',
                "notes": None,
            }
            bucket = {**self.run(run), **counts, **text}
        return {"model": {**self.project(), "bucket": bucket}}

    def CreateRunFiles(self, v):
        files = [
            {"name": name, "uploadUrl": f"{self.url}/runfile/{v['run']}/{name}"}
            for name in v["files"]
        ]
        return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}

    def CreateArtifact(self, v):
        name = v.get("artifactCollectionName") or v["artifactCollectionNames"][0]
        new = {"type": v["artifactTypeName"], "versions": [], "aliases": {}}
        collection = self.collections.setdefault(name, new)
        aliases = [item["alias"] for item in v.get("aliases") or []]
        same = [
            self.artifacts[k]
            for k in collection["versions"]
            if self.artifacts[k]["digest"] == v["digest"]
        ]
        if same:
            artifact = same[0]
            collection["aliases"] |= dict.fromkeys(aliases, artifact["id"])
        else:
            artifact = {
                "id": f"A{len(self.artifacts)}",
                "name": name,
                "state": "PENDING",
                "version": None,
                "size": 0,
            }
            artifact |= {
                "digest": v["digest"],
                "metadata": v.get("metadata"),
                "description": v.get("description"),
            }
            artifact |= {"wanted": aliases, "manifest": None, "files": 0, "run": v.get("runName")}
            self.artifacts[artifact["id"]] = artifact
        sequence = {"id": name, "name": name, "latestArtifact": None}
        return {"createArtifact": {"artifact": {**artifact, "artifactSequence": sequence}}}

    def CreateArtifactManifest(self, v):
        artifact = self.artifacts[v["artifactID"]]
        artifact["manifest"] = f"manifest-{artifact['id']}"
        file = {"id": "F", "name": "m", "displayName": "m", "uploadHeaders": []}
        file["uploadUrl"] = f"{self.url}/blob/{artifact['manifest']}"
        return {
            "createArtifactManifest": {
                "artifactManifest": {"id": artifact["manifest"], "file": file}
            }
        }

    def CreateArtifactFiles(self, v):
        nodes = []
        for file in v["artifactFiles"]:
            digest = to_hex(file["md5"])
            url = None if digest in self.blobs else f"{self.url}/blob/{digest}"
            node = {
                "name": file["name"],
                "uploadUrl": url,
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
            }
            nodes.append({**node, "storagePath": digest, "artifact": {"id": file["artifactID"]}})
        return {"createArtifactFiles": {"files": edges(nodes)}}

    def CommitArtifact(self, v):
        artifact = self.artifacts[v["artifactID"]]
        collection, entries = self.collections[artifact["name"]], self.manifest(artifact)
        missing = [
            path for path, entry in entries.items() if to_hex(entry["digest"]) not in self.blobs
        ]
        if missing:
            raise Refused(f"{missing} were not uploaded")
        size = sum(entry["size"] for entry in entries.values())
        artifact |= {
            "state": "COMMITTED",
            "version": len(collection["versions"]),
            "files": len(entries),
            "size": size,
        }
        collection["versions"].append(artifact["id"])
        collection["aliases"] |= dict.fromkeys(["latest", *artifact["wanted"]], artifact["id"])
        return {
            "commitArtifact": {"artifact": {"id": artifact["id"], "digest": artifact["digest"]}}
        }

    def ArtifactByID(self, v):
        return {"artifact": self.full(self.artifacts[v["id"]])}

    def ArtifactMembershipByName(self, v):
        found = (
            self.find(*v["name"].split(":"))
            if v["entity"] == ENTITY and v["project"] == PROJECT
            else None
        )
        if found is None:
            return {"project": {**self.project(), "artifactCollectionMembership": None}}
        about = {
            "id": "M",
            "versionIndex": found["version"],
            "createdAt": DATE,
            "aliases": self.aliases_of(found),
        }
        about |= {
            "artifactCollection": self.collection(found["name"]),
            "artifact": self.full(found),
        }
        return {"project": {**self.project(), "artifactCollectionMembership": about}}

    def ArtifactType(self, v):
        collection = self.collections.get(v["name"].partition(":")[0])
        found = {"artifactType": {"name": collection["type"]}} if collection else None
        return {"project": {"artifact": found}}

    def FetchArtifactManifest(self, v):
        manifest = self.artifacts[v["id"]]["manifest"]
        return {
            "artifact": {
                "currentManifest": {
                    "id": manifest,
                    "file": {"directUrl": f"{self.url}/blob/{manifest}"},
                }
            }
        }

    def GetArtifactMembershipFileUrls(self, v):
        entries = self.manifest(self.find(v["collection"], v["alias"]))
        urls = {
            path: f"{self.url}/blob/{to_hex(entry['digest'])}" for path, entry in entries.items()
        }
        nodes = [
            {"__typename": "File", "name": path, "directUrl": url, "url": url}
            for path, url in urls.items()
        ]
        files = {"artifactMembership": {"files": edges(nodes)}, "__typename": "ArtifactSequence"}
        return {"project": {"artifactCollection": files}}

    def AddAliases(self, v):
        for item in v["aliases"]:
            self.collections[item["artifactCollectionName"]]["aliases"][item["alias"]] = v[
                "artifactID"
            ]
        return {"result": {"success": True}}

    def DeleteAliases(self, v):
        for item in v["aliases"]:
            aliases = self.collections[item["artifactCollectionName"]]["aliases"]
            if aliases.get(item["alias"]) == v["artifactID"]:
                del aliases[item["alias"]]
        return {"result": {"success": True}}

    def UpdateArtifact(self, v):
        artifact = self.artifacts[v["artifactID"]]
        artifact["metadata"] = v.get("metadata") or artifact["metadata"]
        return {"result": {"artifact": self.full(artifact)}}

    def stream(self, run_id: str, sent: dict) -> None:
        """History and summary of a run."""
        run = self.runs[run_id]
        for name, part in (sent.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                run["history"][part["offset"] :] = [json.loads(line) for line in part["content"]]
            elif name == "wandb-summary.json":
                run["summary"] |= json.loads(part["content"][-1])
        if sent.get("complete"):
            run["state"] = "failed" if sent.get("exitcode") else "finished"


class Refused(Exception):
    """What GraphQL reports as an error."""


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class Handler(BaseHTTPRequestHandler):
    """HTTP around `WandbServer`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *args) -> None:
        pass

    def any_method(self) -> None:
        server, body, path = self.server.owner, self.body(), self.path.split("?")[0].strip("/")
        if path == "graphql":
            path += "/" + operation(json.loads(body))
        with server.lock:
            server.requests.append(f"{self.command} {path}")
        fault = server.fault(path)
        if fault == "cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        status, answer = (fault, b"broken") if fault else self.answer(server, path, body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = any_method

    def body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def answer(self, server: WandbServer, path: str, body: bytes) -> tuple[int, bytes]:
        kind, _, rest = path.partition("/")
        with server.lock:
            if kind == "graphql":
                return 200, json.dumps(graphql(server, rest, json.loads(body))).encode()
            if kind == "files" and rest.endswith("/file_stream"):
                server.stream(rest.split("/")[2], json.loads(body))
                return 200, b"{}"
            if kind == "blob" and self.command == "PUT":
                if not rest.startswith("manifest-") and hashlib.md5(body).hexdigest() != rest:
                    return 400, b"not what its digest says"
                server.blobs[rest] = body
                return 200, b""
            if kind == "blob" and rest in server.blobs:
                return 200, server.blobs[rest]
            if kind == "runfile" and self.command == "PUT":
                run, _, name = rest.partition("/")
                server.runs[run]["files"][name] = body
                return 200, b""
        return 404, b"{}"


def operation(request: dict) -> str:
    """The name of a GraphQL operation; Python's client leaves it to the text."""
    found = re.search(r"\b(?:query|mutation)\s+(\w+)", request.get("query") or "")
    return request.get("operationName") or (found[1] if found else "")


def graphql(server: WandbServer, name: str, request: dict) -> dict:
    """`{"data": ...}`, or errors for what is not known here."""
    variables = dict(request.get("variables") or {})
    variables |= variables.get("input") or {}
    method = getattr(server, name, None) if name[:1].isupper() else None
    if method is None:
        return {"errors": [{"message": f"no operation {name}"}]}
    try:
        return {"data": method(variables)}
    except Refused as error:
        return {"data": None, "errors": [{"message": str(error)}]}


def edges(nodes: list[dict]) -> dict:
    """A GraphQL connection of one page."""
    page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
    return {
        "pageInfo": page,
        "edges": [{"node": node, "cursor": "c"} for node in nodes],
        "totalCount": len(nodes),
    }


def to_hex(md5: str) -> str:
    """base64 to hex."""
    return base64.b64decode(md5).hex()
