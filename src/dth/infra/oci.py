"""Writes images as OCI layouts: layers, images, and one index for several processors.

The same input gives the same bytes.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Linux names of processors, and those of Debian and OCI.
ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}
CREATED = "1980-01-01T00:00:00Z"
OCI = "application/vnd.oci.image"
REFERENCE = "org.opencontainers.image.ref.name"

Descriptor = dict[str, Any]


@dataclass
class Layer:
    """A file system, written from top to bottom. Everything in it belongs to root, unless an entry
    says otherwise."""

    archive: tarfile.TarFile
    written: set[str] = field(default_factory=set)

    @classmethod
    @contextmanager
    def open(cls, file: Path) -> "Iterator[Layer]":
        with (
            file.open("wb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|") as archive,
        ):
            yield cls(archive)

    def write(self, name: str, body: bytes, mode: int = 0o644) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = len(body)
        entry.mode = mode
        self.add(entry, body)

    def link(self, name: str, to: str) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, to
        self.add(entry)

    def directory(self, name: str, mode: int, user: int = 0) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        entry.uid = entry.gid = user
        self.add(entry)

    def add(self, entry: tarfile.TarInfo, body: bytes = b"") -> None:
        self.written.add(entry.name)
        self.archive.addfile(entry, io.BytesIO(body))


class LayerCache:
    """Layers by what they are made of, so that each is made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def layer(self, made_of: str, make: Callable[[Path], None]) -> Path:
        """Return the layer; `make` writes it if it is not there. `made_of` names all its input."""
        file = self._folder / f"{hashlib.sha256(made_of.encode()).hexdigest()}.tar.gz"
        if not file.exists():
            unfinished = file.with_suffix(".unfinished")
            make(unfinished)
            unfinished.replace(file)
        return file


class Layout:
    """An OCI layout in a directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)

    def image(self, machine: str, config: Mapping[str, Any], layers: list[Path]) -> Descriptor:
        """Add the image for a processor, by its Linux name. Returns the manifest's descriptor."""
        described = {
            "architecture": ARCHITECTURES[machine],
            "os": "linux",
            "created": CREATED,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [_unpacked_digest(layer) for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": self._add(f"{OCI}.config.v1+json", _json(described)),
            "layers": [
                self._add(f"{OCI}.layer.v1.tar+gzip", layer.read_bytes()) for layer in layers
            ],
        }
        return self._add(f"{OCI}.manifest.v1+json", _json(manifest))

    def index(self, images: Mapping[str, Descriptor]) -> Descriptor:
        """Add an index: one image for several processors, by their Linux names."""
        manifests = [
            {**image, "platform": {"architecture": ARCHITECTURES[machine], "os": "linux"}}
            for machine, image in images.items()
        ]
        index = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.index.v1+json",
            "manifests": manifests,
        }
        return self._add(f"{OCI}.index.v1+json", _json(index))

    def finish(self, image: Descriptor, tag: str = "") -> None:
        """Write what makes the directory a layout with this image in it."""
        if tag:
            image = {**image, "annotations": {REFERENCE: tag}}
        (self._folder / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [image]}))
        (self._folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))

    def _add(self, media_type: str, body: bytes) -> Descriptor:
        digest = hashlib.sha256(body).hexdigest()
        (self._blobs / digest).write_bytes(body)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(body)}


def _unpacked_digest(layer: Path) -> str:
    with gzip.open(layer) as unpacked:
        return f"sha256:{hashlib.file_digest(unpacked, 'sha256').hexdigest()}"


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
