"""Tasks that use a GPU: no more of them than GPUs, and memory that more memory of the node would not mend."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from runs import REPOSITORY, last_trace, nextflow

# Each GPU has a folder while it is used, which a second task could not make.
STEPS = """
process TRAIN {
    label 'gpu'
    input:
    val number
    script:
    \"""
    mkdir ${launchDir}/used_\\$CUDA_VISIBLE_DEVICES
    touch ${launchDir}/seen_\\$CUDA_VISIBLE_DEVICES
    sleep 1
    rmdir ${launchDir}/used_\\$CUDA_VISIBLE_DEVICES
    \"""
}
process REFINE {
    label 'gpu_refine'
    input:
    val number
    script:
    \"""
    mkdir ${launchDir}/used_\\$CUDA_VISIBLE_DEVICES
    sleep 1
    rmdir ${launchDir}/used_\\$CUDA_VISIBLE_DEVICES
    [ ${task.attempt} = 2 ] || { echo 'numpy._core._exceptions._ArrayMemoryError: Unable to allocate' >&2; exit 1; }
    \"""
}
workflow {
    TRAIN(channel.of(1, 2, 3))
    REFINE(channel.of(1))
}
"""
FULL = """
process REFINE {
    label 'gpu_refine'
    script:
    \"""
    echo '%s' >&2
    exit 1
    \"""
}
process TRAIN {
    label 'gpu'
    script:
    \"""
    echo '%s' >&2
    exit 1
    \"""
}
workflow {
    if (params.input == 'TRAIN') { TRAIN() } else { REFINE() }
}
"""


def run(folder: Path, script: str, *words: object) -> tuple[int, str]:
    """Run steps with the settings of this project's own."""
    (folder / "steps.nf").write_text(script)
    (folder / "conf").symlink_to(REPOSITORY / "conf")
    return nextflow(folder, "run", "steps.nf", "-c", REPOSITORY / "nextflow.config", *words)


def trace(folder: Path) -> pd.DataFrame:
    return last_trace(folder / "results").set_index("name")


@pytest.mark.parametrize("gpus", [1, 2])
def test_no_more_tasks_than_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,8")
    status, log = run(tmp_path, STEPS, "--gpus", gpus)
    assert status == 0, log
    assert {path.name for path in tmp_path.glob("seen_*")} == {f"seen_{gpu}" for gpu in (5, 7)[:gpus]}
    # the node's memory is another matter
    assert "REFINE (1) ran out of memory (attempt 1, 8 GB" in log
    assert trace(tmp_path).loc["REFINE (1)", "status"].tolist() == ["FAILED", "COMPLETED"]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("TRAIN", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        ("REFINE", "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_a_full_gpu_is_not_tried_again(tmp_path: Path, step: str, message: str) -> None:
    status, log = run(tmp_path, FULL % (message, message), "--input", step)
    assert status != 0
    assert f"{step} ran out of GPU memory: give a smaller --batch_size or --train_box, or --device cpu" in log
    assert trace(tmp_path).loc[[step], "status"].tolist() == ["FAILED"]
