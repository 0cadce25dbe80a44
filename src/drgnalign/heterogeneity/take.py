"""A training of cryoDRGN's that was done before the run, taken in place of the first round's.

What must agree is what later rounds, which train on from its weights, cannot change: the images' box, the network's
size, and what they leave at cryoDRGN's usual values. Names of files and fields are those of ``cryodrgn train_vae`` 1.0
to 4.3.1.
"""

from __future__ import annotations

import itertools
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from drgnalign.errors import InputError
from drgnalign.files import copy_whole, significant, write_text
from drgnalign.formats.cryodrgn import LATENT_REMEDY, read_latent
from drgnalign.heterogeneity.train import FIXED_SETTINGS, losses_in
from drgnalign.particles import Particles
from drgnalign.run.latent import (
    CONFIG,
    LOG,
    TRAINED_ON,
    TRAINING,
    WEIGHTS,
    TrainingRecord,
    Z,
    refuse_other_images,
    write_images,
)
from drgnalign.run.record import read_record, write_record

NUMBERED = re.compile(r"weights\.(\d+)\.pkl")
# What `train` leaves to cryoDRGN, and what it then is; older programs did not write all of it.
USUAL = {"encode_mode": "resid", "pe_type": "gaussian", "feat_sigma": 0.5, "domain": "fourier", "activation": "relu"}
# What evaluating the network reads besides, and is not the images' or the network's own.
EVALUATED: dict[str, dict[str, Any]] = {
    "dataset_args": {"ctf": None, "datadir": None, "ind": None, "particles": None, "poses": None}
    | {"invert_data": True, "keepreal": False, "window": True, "window_r": 0.85},
    "lattice_args": {"extent": 0.5, "ignore_DC": True},
    "model_args": USUAL | {"pe_dim": None, "tilt_params": {}},
}
USUAL_RATE = 1e-4
OTHER_NETWORK = "train one of the usual kind, or give the clusters found in it with --labels"
OF_TRAIN_VAE = "give --weights a training of `cryodrgn train_vae`"


class _PlainLoader(yaml.SafeLoader):
    """Numbers of numpy are numbers, and other objects of Python's are none: nothing in the file is run."""

    def python_object(self, suffix: str, node: yaml.Node) -> float | None:
        is_number = suffix.endswith("multiarray.scalar") and isinstance(node, yaml.SequenceNode)
        parts = node.value if is_number else []
        raw = [self.construct_object(part) for part in parts if part.tag.endswith(":binary")]
        codes = {4: "<f4", 8: "<f8"}
        return float(np.frombuffer(raw[0], codes[len(raw[0])])[0]) if raw and len(raw[0]) in codes else None


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _PlainLoader.python_object)


def take_training(
    weights: Path, z: Path, config: Path, particles: Particles, settings: Mapping[str, Any], outdir: Path
) -> TrainingRecord:
    """Check a training against the particles and the run's settings, and write it as `train` leaves its own.

    Parameters
    ----------
    weights, z, config : path
        ``weights.N.pkl``, N the epoch, and ``z.N.pkl`` and ``config.yaml`` of the same training; or those of a
        published round's ``latent/``, with its ``training.json`` and ``images.sha256`` beside ``config``. A
        ``run.log`` or ``train.log`` there tells of losses, ``ind.pkl`` of a round who was trained on.
    particles : Particles
        The run's, in the order of its particle file.
    settings : mapping
        ``box``, ``zdim``, ``layers``, ``nodes`` and ``learning_rate`` of the run's own trainings.
    outdir : path
        Made if need be; see `drgnalign.heterogeneity.train.train`.

    Returns
    -------
    TrainingRecord
        The contents of ``training.json``.

    Raises
    ------
    InputError
        It is another kind of network or of another size, of other particles, or a file is broken.
    """
    beside = config.parent
    own = read_record(TrainingRecord, beside / TRAINING) if (beside / TRAINING).is_file() else None
    facts = _read_config(config)
    found = _network(config, facts) | {"learning_rate": _learning_rate(facts, own)}
    _refuse_others(config, found, settings, particles.box)
    plain = _plain_config(config, facts)
    if not zipfile.is_zipfile(weights):
        raise InputError(weights, "holds no network: it is cut short, or of another program", OF_TRAIN_VAE)
    latent, _ = read_latent(z)
    if latent.shape != (len(particles), found["zdim"]):
        problem = f"has {latent.shape[1]} latent variables of {len(latent):,} particles, where the network has "
        problem += f"{found['zdim']} and the particle file {len(particles):,}"
        remedy = "give the particles that were trained on, with all their rows; of fewer, as with cryoDRGN's --ind: "
        raise InputError(z, problem, f"{remedy}--ind beside --poses, or a file of `drgnalign select --ind`")
    refuse_other_images(particles, beside)
    if not np.isfinite(latent).all():
        raise InputError(z, "holds numbers that are not finite", LATENT_REMEDY)
    logs = [path for path in (beside / LOG, beside / "run.log") if path.is_file()]
    # a log goes on where a training was begun again
    losses = {loss["epoch"]: loss for log in logs[:1] for loss in losses_in(log.read_text(errors="replace"))}
    version = str(facts.get("version") or "")
    # cryoDRGN 4 calls the first epoch 1 in names of files, as all do in the log; earlier ones 0
    late = 0 if version.startswith("4") or own else 1
    epoch = _epoch(weights, own, [int(number) - late for number in losses if number is not None])
    record = TrainingRecord(
        epoch=epoch,
        first_epoch=own.first_epoch if own else 1,
        losses=own.losses if own else [loss for number, loss in losses.items() if (number or 0) <= epoch + late],
        settings=own.settings if own else found,
        cryodrgn_version=version or None,
        device=own.device if own else None,
        taken_from=str(weights.resolve()),
    )
    outdir.mkdir(parents=True, exist_ok=True)
    for source, name in ((weights, WEIGHTS), (z, Z)):
        copy_whole(source, outdir / name)
    write_text(outdir / CONFIG, yaml.safe_dump(plain))
    if own and (beside / TRAINED_ON).is_file():
        copy_whole(beside / TRAINED_ON, outdir / TRAINED_ON)
    if logs:
        copy_whole(logs[0], outdir / LOG)
    else:
        write_text(outdir / LOG, f"taken from {record.taken_from}, which has no log\n")
    write_images(particles, outdir)
    write_record(record, outdir / TRAINING)
    return record


def doubt_of_sign(config: Path, contrast: Sequence[str]) -> str | None:
    """Why maps of a training, whose ``config.yaml`` is given, may come out inverted, where they may.

    cryoDRGN inverts images by default, which gives white protein positive density. A round was trained on white
    protein, whatever the particles' images are, whose contrast is ``white`` or ``dark``, or of some each.
    """
    if (config.parent / TRAINING).is_file():
        return None
    inverts = bool(_plain_config(config, _read_config(config))["dataset_args"]["invert_data"])
    if set(contrast) == {"white" if inverts else "dark"}:
        return None
    return (
        f"{config}: images were {'inverted' if inverts else 'left as they are'} in the training, and protein is "
        f"{' and '.join(contrast)} in those of the particles: trained on these, its maps would be inverted"
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        facts = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(path, f"cannot be read ({' '.join(str(error).split())[:120]})", OF_TRAIN_VAE) from error
    if not isinstance(facts, dict):
        raise InputError(path, "holds no settings of a training", OF_TRAIN_VAE)
    return facts


def _plain_config(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """With all that evaluating the network reads, in values that every reader of YAML takes."""
    blocks = {}
    for name, usual in EVALUATED.items():
        given = facts.get(name)
        blocks[name] = usual | (given if isinstance(given, dict) else {})
    norm = blocks["dataset_args"].get("norm")
    if not (isinstance(norm, list) and len(norm) == 2 and all(isinstance(value, (int, float)) for value in norm)):
        raise InputError(path, "does not say how images were normalised (dataset_args, norm)", OF_TRAIN_VAE)
    return {**blocks, **{name: facts[name] for name in ("cmd", "seed", "version") if name in facts}}


def _learning_rate(facts: Mapping[str, Any], own: TrainingRecord | None) -> float | None:
    """Goes on with the optimiser's state, whatever a later round asks for; None where nothing tells."""
    words = facts.get("cmd")
    if own or not isinstance(words, list):
        return own.settings.get("learning_rate") if own else None
    given = [str(after) for word, after in itertools.pairwise(words) if word == "--lr"]
    return float(given[-1]) if given else USUAL_RATE


def _network(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Size of the network, by the names of the run's settings."""
    try:
        lattice, model = facts["lattice_args"], facts["model_args"]
        names = ("zdim", "qlayers", "players", "qdim", "pdim")
        side, *sizes = [int(value) for value in (lattice["D"], *(model[name] for name in names))]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(path, "lacks the sizes of a network that `cryodrgn train_vae` trains", OF_TRAIN_VAE) from error
    zdim, *pairs = sizes
    for name, encoder, decoder in (("layers", *pairs[:2]), ("nodes", *pairs[2:])):
        if encoder != decoder:
            problem = f"has {encoder} {name} in the encoder and {decoder} in the decoder; rounds train as many in both"
            raise InputError(path, problem, OTHER_NETWORK)
    half = (side - 1) // 2
    usual = {name: (value,) for name, value in USUAL.items()} | {"enc_mask": (half,), "pe_dim": (None, half)}
    others = [name for name, values in usual.items() if name in model and model[name] not in values]
    if others:
        told = ", ".join(f"{name}: {model[name]}" for name in others)
        raise InputError(path, f"is of another kind of network than rounds train on ({told})", OTHER_NETWORK)
    return {"box": side - 1, "zdim": zdim, "layers": pairs[0], "nodes": pairs[2]}


def _refuse_others(path: Path, found: Mapping[str, Any], settings: Mapping[str, Any], box: int) -> None:
    """All that differs from the run's settings, in one message with the options that mend it."""
    if found["box"] > box:
        problem = f"was trained on images of {found['box']} px, and those of the particles have {box} px"
        raise InputError(path, problem, "give the training of these particles")
    options = {name: name for name in FIXED_SETTINGS} | {"box": "train_box"}
    wanted = {name: significant(settings[name]) for name in FIXED_SETTINGS}
    differing = [name for name in FIXED_SETTINGS if found[name] is not None and found[name] != wanted[name]]
    if differing:
        told = ", ".join(f"{name} {found[name]} where the run has {wanted[name]}" for name in differing)
        remedy = " ".join(f"--{options[name]} {found[name]}" for name in differing)
        raise InputError(path, f"is of a network with {told}", f"give {remedy}")


def _epoch(weights: Path, own: TrainingRecord | None, logged: Sequence[int]) -> int:
    """By its name, by the record of a round, or by the log of a training that has ended."""
    numbered = NUMBERED.fullmatch(weights.name)
    if numbered:
        return int(numbered[1])
    if own is None and not logged:
        remedy = "give weights.N.pkl with the z.N.pkl of the same epoch, as cryoDRGN names them"
        raise InputError(weights, "does not say of which epoch it is", remedy)
    return own.epoch if own else max(logged)
