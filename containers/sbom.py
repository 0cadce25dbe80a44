"""List what is inside an image, as SPDX 2.3."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from sif import sha256_of

from drgnalign import __version__
from drgnalign.files import atomic_path


def write_sbom(root: Path, wheels: Path, name: str, image: Path, time: int) -> int:
    """Write IMAGE.spdx.json beside an image.

    Parameters
    ----------
    root : path
        The image as a folder.
    wheels : path
        Folder of the packages that were installed, for their hashes.
    name : str
        Of the image.
    image : path
        The image's file.
    time : int
        Seconds since 1970, written as the time of the list.

    Returns
    -------
    int
        Number of packages listed.
    """
    digest = sha256_of(image)
    image_id = "SPDXRef-image"
    packages = [*debian_packages(root), *python_packages(root, wheels), *user_files(root)]
    described = package(image_id, f"{name}.sif", __version__, sha256=digest)
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{name}.sif",
        "documentNamespace": f"https://spdx.org/spdxdocs/{name}.sif-{digest}",
        "creationInfo": {
            "created": datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": [f"Tool: drgnalign-{__version__}"],
        },
        "packages": [described, *packages],
        "relationships": [
            relationship("SPDXRef-DOCUMENT", "DESCRIBES", image_id),
            *(relationship(image_id, "CONTAINS", entry["SPDXID"]) for entry in packages),
        ],
    }
    with atomic_path(image.with_name(f"{image.name}.spdx.json")) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n")
    return len(packages)


def debian_packages(root: Path) -> Iterator[dict[str, Any]]:
    """Of the distribution, from its own record; nothing where the base is of another kind."""
    status = root / "var" / "lib" / "dpkg" / "status"
    for entry in status.read_text().split("\n\n") if status.exists() else []:
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", entry, re.M))
        if fields.get("Status", "").endswith(" installed"):
            locator = f"pkg:deb/debian/{fields['Package']}@{fields['Version']}?arch={fields['Architecture']}"
            yield package(f"SPDXRef-deb-{fields['Package']}", fields["Package"], fields["Version"], locator)


def python_packages(root: Path, staged: Path) -> Iterator[dict[str, Any]]:
    """What is installed, with the hash of the file that it came from where that is at hand."""
    files = {}
    for wheel in staged.parent.glob("*/wheels/*.whl"):
        distribution, version = wheel.name.split("-")[:2]
        files[canonical(distribution), version] = sha256_of(wheel)
    folders = [str(path) for path in (root / "opt" / "drgnalign" / "lib").glob("python*/site-packages")]
    installed = {canonical(found.metadata["Name"]): found.version for found in distributions(path=folders)}
    for name, version in sorted(installed.items()):
        locator = f"pkg:pypi/{name}@{version}"
        yield package(f"SPDXRef-python-{name}", name, version, locator, files.get((name, version)))


def user_files(root: Path) -> Iterator[dict[str, Any]]:
    """Programs and shared libraries that a user brought: all that is known is their contents."""
    for path in sorted((root / "opt" / "frealign").glob("[bl]i[nb]/*")):
        digest = sha256_of(path)
        yield package(f"SPDXRef-file-{path.parent.name}-{path.name}", path.name, digest[:12], sha256=digest)


def canonical(name: str) -> str:
    """A Python package's one name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package(
    identifier: str, name: str, version: str, locator: str | None = None, sha256: str | None = None
) -> dict[str, Any]:
    """An entry of the list."""
    entry: dict[str, Any] = {
        "SPDXID": re.sub(r"[^A-Za-z0-9.-]", "-", identifier),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
    }
    if sha256 is not None:
        entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": sha256}]
    if locator is not None:
        reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}
        entry["externalRefs"] = [reference]
    return entry


def relationship(element: str, kind: str, related: str) -> dict[str, str]:
    """How two entries belong together."""
    return {"spdxElementId": element, "relationshipType": kind, "relatedSpdxElement": related}
