"""The parameters: one description, which the defaults, the help and the checks follow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from runs import REPOSITORY, nextflow

SCHEMA = json.loads((REPOSITORY / "nextflow_schema.json").read_text())
PROPERTIES: dict[str, Any] = {
    name: rule for group in SCHEMA["$defs"].values() for name, rule in group["properties"].items()
}


def test_defaults_are_those_of_the_schema(tmp_path: Path) -> None:
    status, printed = nextflow(tmp_path, "config", REPOSITORY, "-flat")
    assert status == 0, printed
    lines = [line.removeprefix("params.").split(" = ") for line in printed.splitlines() if line.startswith("params.")]
    defaults = {name: json.loads(value.replace("'", '"')) for name, value in lines}
    assert defaults == {name: rule["default"] for name, rule in PROPERTIES.items()}


def test_help_lists_every_parameter_and_runs_nothing(tmp_path: Path) -> None:
    status, printed = nextflow(tmp_path, "run", REPOSITORY / "main.nf", "--help")
    assert status == 0, printed
    for name, rule in PROPERTIES.items():
        assert f"--{name} " in printed and rule["description"] in printed
    assert printed.count("    nextflow run main.nf") == 5 and "  -resume " in printed
    profiles = re.findall(r"^    (\w+) \{$", (REPOSITORY / "nextflow.config").read_text(), re.MULTILINE)
    assert all(re.search(rf"-profile .*{profile}|{profile} likewise", printed) for profile in profiles)
    assert "Submitted" not in printed
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_parameter_is_described(name: str) -> None:
    rule = PROPERTIES[name]
    assert rule["type"] in ("string", "integer", "number", "boolean")
    assert rule["description"].endswith(".") and "\n" not in rule["description"]
    assert "default" in rule
    if rule["type"] in ("integer", "number"):
        assert "minimum" in rule or "exclusiveMinimum" in rule


EXPERIMENTS = sorted((REPOSITORY / "conf" / "experiments").glob("*.yml"))
# From the reference method: data, box and hidden nodes, clusters (None: HDBSCAN), dimensions of the UMAP
REFERENCE_METHOD = {
    "01": ("empiar10180", 128, 256, 7, "umap2"),
    "02": ("empiar10180", 128, 256, 7, "umap3"),
    "03": ("empiar10180", 320, 1024, 7, "umap2"),
    "04": ("empiar10180", 320, 1024, 7, "umap3"),
    "05": ("empiar10076", 128, 256, 6, "umap2"),
    "06": ("empiar10076", 128, 256, 6, "umap3"),
    "07": ("empiar10076", 128, 256, 15, "umap2"),
    "08": ("empiar10076", 128, 256, 15, "umap3"),
    "09": ("empiar10076", 128, 256, None, "umap2"),
    "10": ("empiar10076", 128, 256, None, "umap3"),
    "11": ("empiar10076", 320, 1024, 6, "umap2"),
    "12": ("empiar10076", 320, 1024, 6, "umap3"),
    "13": ("empiar10076", 320, 1024, None, "umap2"),
    "14": ("empiar10076", 320, 1024, None, "umap3"),
}


def test_there_are_fourteen_experiments() -> None:
    assert [file.stem for file in EXPERIMENTS] == list(REFERENCE_METHOD)


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_experiments_are_those_of_the_reference_method(file: Path) -> None:
    given = yaml.safe_load(file.read_text())
    jsonschema.validate(given, {"type": "object", "properties": PROPERTIES, "additionalProperties": False})
    data, box, nodes, k, space = REFERENCE_METHOD[file.stem]
    assert f"-profile hpc,{data}." in file.read_text()
    assert (given["train_box"], given["nodes"], given.get("k"), given["cluster_on"]) == (
        box,
        nodes,
        k and str(k),
        space,
    )
    assert given["clustering"] == ("hdbscan" if k is None else "kmeans")


@pytest.mark.parametrize("number", ["01", "14"])
def test_an_experiment_is_accepted_with_the_profile_of_its_data(tmp_path: Path, number: str) -> None:
    """All that is missing is the particles."""
    data = REFERENCE_METHOD[number][0]
    file = REPOSITORY / "conf" / "experiments" / f"{number}.yml"
    words = ("-params-file", file, "-profile", f"slurm,{data}", "--input", "kept.star", "--max_memory", "64.GB")
    words += ("--queue", "cpu", "--gpu_options=--gres=gpu:1", "--scratch", "$TMPDIR", "--max_time", "2d")
    status, printed = nextflow(tmp_path, "run", REPOSITORY / "main.nf", *words)
    assert status != 0
    assert "kept.star: no such file" in printed and "refused" not in printed


def test_text_that_reads_as_no_number_is_refused(tmp_path: Path) -> None:
    """Here from a file, in which text stands in quotation marks; the whole run of odd names has text that does."""
    refused = {"seed": "1.5", "zdim": "8d", "layers": "0x3", "nodes": "", "hdbscan_k": "1_0", "epochs_first": "1e-1"}
    refused |= {"beta": "nan", "learning_rate": "1,5", "assign_limit": "1e999", "voltage": "300 kV", "cs": "١"}
    accepted = {
        "rounds": " 1 ",
        "train_box": 64.0,
        "mask_diameter": "+1.5e2",
        "perturb_shift": ".5",
        "batch_size": "1e1",
    }
    (tmp_path / "given.json").write_text(json.dumps({"input": "p.star", **refused, **accepted}))
    status, printed = nextflow(tmp_path, "run", REPOSITORY / "main.nf", "-params-file", tmp_path / "given.json")
    assert status != 0 and "Submitted" not in printed
    for name, value in refused.items():
        assert f"--{name} {value}: is not of type {PROPERTIES[name]['type']}" in printed
    assert not any(f"--{name} " in printed for name in accepted)


def test_sizes_and_times_that_nextflow_does_not_know_are_refused(tmp_path: Path) -> None:
    words = ("--input", "p.star", "--max_memory", "64 gigabytes", "--max_time", "2 fortnights", "--max_jobs", "0")
    status, printed = nextflow(tmp_path, "run", REPOSITORY / "main.nf", *words)
    assert status != 0
    for text in ("--max_memory 64 gigabytes", "--max_time 2 fortnights", "--max_jobs 0: must be at least 1"):
        assert text in printed
