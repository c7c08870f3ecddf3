"""A W&B server for tests, on loopback: it answers what wandb's own programs ask, and remembers what they sent."""

import gzip
import itertools
import json
import re
import threading
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

from helpers.wandb_artifacts import Artifacts


@dataclass
class Remembered:
    """One run, as it arrived."""

    about: dict = field(default_factory=dict)  # the fields of the last UpsertBucket that were given
    history: list = field(default_factory=list)
    summary: dict = field(default_factory=dict)
    files: set = field(default_factory=set)
    exitcode: int | None = None

    @property
    def config(self):
        return {key: entry["value"] for key, entry in json.loads(self.about["config"]).items()}


class Server(Artifacts, ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs = defaultdict(Remembered)
        self.sweep = None  # the configuration of the sweep that was made
        self.stops = lambda run: False  # whether the sweep ends a run early
        self.points = iter(())  # what its agents have still to do
        self.status = 200  # of all answers
        self.workspaces = []
        self.alerts = []  # (run, title)
        self.refused = []  # questions that it has no answer to

    @property
    def environment(self):
        """What makes wandb talk to this server and to no other."""
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": "0" * 40,
            "WANDB_MODE": "online",
            "WANDB_ERROR_REPORTING": "false",
            "no_proxy": "127.0.0.1",
            "NO_PROXY": "127.0.0.1",
        }

    def answer(self, operation, given):
        project = {"id": "p", "name": "difflab", "entity": {"id": "e", "name": "ent"}}
        match operation:
            case "UpsertBucket":
                run = self.runs[given["name"]]
                new = not run.about
                run.about |= {key: value for key, value in given.items() if value is not None}
                bucket = {"id": given["name"], "name": given["name"], "displayName": given.get("displayName")}
                bucket |= {"config": "{}", "historyLineCount": len(run.history), "project": project}
                return {"upsertBucket": {"bucket": bucket, "inserted": new}}
            case "RunResumeStatus":
                return {"model": self.resumed(given["name"])}
            case "CreateRunFiles":
                links = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in given["files"]]
                self.runs[given["run"]].files |= set(given["files"])
                return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": links}}
            case "CreateArtifact":
                return {"createArtifact": {"artifact": self.create(given["input"])}}
            case "CreateArtifactManifest" | "UpdateArtifactManifest":
                key = given.get("artifactID") or given["artifactManifestID"]
                link = {"id": "f", "uploadUrl": f"{self.url}/upload/{key}/manifest", "uploadHeaders": []}
                name = operation[0].lower() + operation[1:]
                return {name: {"artifactManifest": {"id": key, "file": link}}}
            case "CreateArtifactFiles":
                nodes = [self.place(each) for each in given["input"]["artifactFiles"]]
                return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
            case "CommitArtifact":
                artifact = self.artifacts[given["artifactID"]]
                artifact.state = "COMMITTED"
                return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.about["digest"]}}}
            case "UseArtifact":
                use = given.get("input", given)
                self.used.append((use["runName"], use["artifactID"]))
                return {"useArtifact": {"artifact": self.described(self.artifacts[use["artifactID"]])}}
            case "AddAliases":
                for artifact in self.artifacts.values():
                    if artifact.id == given["input"]["artifactID"]:
                        artifact.aliases |= {each["alias"] for each in given["input"]["aliases"]}
                return {"result": {"success": True}}
            case "UpdateArtifact":
                artifact = self.artifacts[given["input"]["artifactID"]]
                return {"result": {"artifact": self.described(artifact)}}
            case "ArtifactMembershipByName":
                found = self.find(given["name"])
                return {"project": {"artifactCollectionMembership": found and self.membership(found)}}
            case "ArtifactByID":
                return {"artifact": self.described(self.artifacts[given["id"]])}
            case "FetchArtifactManifest":
                link = {"directUrl": f"{self.url}/upload/{given['id']}/manifest"}
                return {"artifact": {"currentManifest": {"file": link}}}
            case "NotifyScriptableRunAlert":
                self.alerts.append((given["runName"], given["title"]))
                return {"notifyScriptableRunAlert": {"success": True}}
            case "ArtifactType":
                kinds = [
                    each.about["artifactTypeName"] for each in self.artifacts.values() if each.named(given["name"])
                ]
                return {"project": {"artifact": {"artifactType": {"name": kinds[0]}} if kinds else None}}
            case "Viewer" | "GetDefaultEntity":
                teams = {"edges": []}
                return {"viewer": {"id": "u", "entity": "ent", "username": "u", "flags": "{}", "teams": teams}}
            case "UpsertSweep":
                self.sweep = yaml.safe_load(given["config"])
                values = {k: v.get("values", [v.get("value")]) for k, v in self.sweep["parameters"].items()}
                grid = itertools.product(*values.values())
                self.points = iter([dict(zip(values, point, strict=True)) for point in grid])
                sweep = {"name": "sweep1", "project": project}
                return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}
            case "SweepWithRuns":
                sweep = {"id": "s", "name": "sweep1", "config": yaml.safe_dump(self.sweep), "runs": {"edges": []}}
                return {"project": {"sweep": sweep}}
            case "CreateAgent":
                return {"createAgent": {"agent": {"id": "a1"}}}
            case "Heartbeat":
                return {"agentHeartbeat": {"agent": {"id": "a1"}, "commands": json.dumps(self.orders(given))}}
            case "UpsertView2":
                self.workspaces.append(given)
                return {"upsertView": {"view": {"id": "v", "name": given["name"]}, "inserted": True}}
            case "ServerFeaturesQuery" | "OrganizationCoreWeaveOrganizationID":
                return {}
            case _:
                self.refused.append(operation)
                return {}

    def resumed(self, name):
        """What a run that goes on is told of what has arrived; None of one that is new."""
        run = self.runs.get(name)
        if run is None or not run.about:
            return None
        tail = json.dumps([json.dumps(row) for row in run.history[-1:]])
        lines = {"historyLineCount": len(run.history), "eventsLineCount": 0, "logLineCount": 0}
        about = {"name": name, "config": run.about.get("config", "{}"), "summaryMetrics": json.dumps(run.summary)}
        tails = {"historyTail": tail, "eventsTail": "[]", "tags": [], "wandbConfig": json.dumps({"t": {}})}
        return {"name": "difflab", "entity": {"name": "ent"}, "bucket": about | lines | tails}

    def orders(self, given):
        """The next point of the sweep when the agent is idle, and the end after the last."""
        if running := [*json.loads(given["runState"])]:
            return [{"type": "stop", "run_id": run} for run in running if self.stops(self.runs[run])]
        point = next(self.points, None)
        if point is None:
            return [{"type": "exit"}]
        name = f"swept{sum(run.startswith('swept') for run in self.runs)}"
        self.runs[name]
        args = {key: {"value": value} for key, value in point.items()}
        return [{"type": "run", "run_id": name, "program": self.sweep["program"], "args": args}]

    def stream(self, run, body):
        for name, chunk in body.get("files", {}).items():
            rows = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                self.runs[run].history += rows
            elif name == "wandb-summary.json":
                self.runs[run].summary = rows[-1]
        if body.get("complete"):
            self.runs[run].exitcode = body.get("exitcode")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self):
        with suppress(ConnectionResetError):  # wandb's programs end without a good-bye
            super().handle()

    def body(self):
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def reply(self, value):
        data = json.dumps(value).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        if not (data := self.body()):  # of a program that was ended
            return
        body = json.loads(data)
        if self.path.startswith("/graphql"):
            operation = body.get("operationName") or re.search(r"(?:query|mutation)\s+(\w+)", body["query"])[1]
            self.reply({"data": self.server.answer(operation, body.get("variables") or {})})
        else:  # /files/ENTITY/PROJECT/RUN/file_stream
            self.server.stream(self.path.split("/")[4], body)
            self.reply({"exitcode": None, "limits": {}})

    def do_PUT(self):
        self.server.uploads[self.path] = self.body()
        self.reply({})

    def do_GET(self):
        if self.path.startswith("/artifactsV2/"):  # /artifactsV2/REGION/ENTITY/KEY/...: a file by its content
            digest = self.path.split("/")[-1] if "?" not in self.path else self.path.split("?")[0].split("/")[-1]
            self.give(self.server.by_digest(self.path, digest))
        elif self.path in self.server.uploads:
            self.give(self.server.uploads[self.path])
        else:
            self.reply({})

    def give(self, data):
        self.send_response(self.server.status if data is not None else 404)
        data = data or b""
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Nothing."""


@contextmanager
def wandb_server():
    """A server that ends with the block."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
