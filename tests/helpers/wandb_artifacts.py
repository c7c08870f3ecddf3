"""The artifacts and the files of a W&B server for tests: kept as they arrive, and described as wandb asks for them."""

import hashlib
from dataclasses import dataclass


@dataclass
class Stored:
    """An artifact, as it arrived."""

    id: str
    about: dict
    aliases: set
    state: str = "PENDING"

    @property
    def name(self):
        return collection_of(self.about)

    def named(self, name):
        return name.partition(":")[0].rpartition("/")[2] == self.name


def collection_of(given):
    """The name under which an artifact is sent."""
    return given.get("artifactCollectionName") or given["artifactCollectionNames"][0]


class Artifacts:
    """What a server with a `url` keeps of artifacts."""

    def __init__(self, *about):
        super().__init__(*about)
        self.artifacts = {}  # by id
        self.uploads = {}  # bytes by path
        self.used = []  # (run, id of an artifact)

    def create(self, given):
        """A new artifact, or the one that has arrived with the same name and content."""
        aliases = {each["alias"] for each in given.get("aliases") or []}
        for known in self.artifacts.values():
            if (known.name, known.about["digest"]) == (collection_of(given), given["digest"]):
                known.aliases |= aliases
                return self.described(known)
        for each in self.artifacts.values():
            if each.name == collection_of(given):
                each.aliases -= aliases
        stored = Stored(f"artifact{len(self.artifacts)}", given, aliases)
        self.artifacts[stored.id] = stored
        return self.described(stored)

    def place(self, file):
        path = f"/upload/{file['artifactID']}/{file['name']}"
        node = {"storagePath": path, "uploadUrl": self.url + path, "uploadHeaders": [], "uploadMultipartUrls": None}
        return {**node, "name": file["name"], "displayName": file["name"], "artifact": {"id": file["artifactID"]}}

    def find(self, name):
        collection, _, alias = name.partition(":")
        for artifact in self.artifacts.values():
            if artifact.name == collection and alias in artifact.aliases:
                return artifact
        return None

    def described(self, artifact):
        """An artifact as W&B's programs ask for it."""
        project = {"id": "p", "internalId": "p", "name": "difflab", "entity": {"name": "ent"}}
        sequence = {"__typename": "ArtifactSequence", "id": "s", "name": artifact.name, "project": project}
        aliases = [
            {"__typename": "ArtifactAlias", "id": alias, "alias": alias, "artifactCollection": sequence}
            for alias in sorted(artifact.aliases)
        ]
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": {**sequence, "latestArtifact": None},
            "versionIndex": [*self.artifacts].index(artifact.id),
            "artifactType": {"name": artifact.about["artifactTypeName"]},
            "description": None,
            "metadata": artifact.about.get("metadata"),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": artifact.state,
            "size": 1000,
            "digest": artifact.about["digest"],
            "digestAlgorithm": artifact.about.get("digestAlgorithm", "MANIFEST_MD5"),
            "commitHash": "c",
            "fileCount": 5,
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": "2026-01-01T00:00:00",
            "aliases": aliases,
        }

    def membership(self, artifact):
        about = self.described(artifact)
        kept = {key: about[key] for key in ("versionIndex", "createdAt", "aliases")}
        collection = about["artifactSequence"]
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": "m",
            **kept,
            "artifactCollection": collection,
            "artifact": about,
        }

    def by_digest(self, path, digest):
        """The uploaded file whose MD5 stands in a path."""
        for data in self.uploads.values():
            if hashlib.md5(data).hexdigest() in path:
                return data
        return None
