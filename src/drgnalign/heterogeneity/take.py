"""A training of cryoDRGN's that was done before the run, taken in place of the first round's.

What must agree is what later rounds, which train on from its weights, cannot change: the images' box, the network's
size, and what they leave at cryoDRGN's usual values. Names of files and fields are those of ``cryodrgn train_vae`` 1.0
to 4.3.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from drgnalign.errors import InputError
from drgnalign.files import copy_whole, significant, write_text
from drgnalign.formats.cryodrgn import LATENT_REMEDY, read_latent
from drgnalign.heterogeneity.train import FIXED_SETTINGS, losses_in
from drgnalign.particles import Particles
from drgnalign.run.latent import CONFIG, LOG, TRAINED_ON, TRAINING, WEIGHTS, TrainingRecord, Z
from drgnalign.run.record import read_record, write_record

NUMBERED = re.compile(r"weights\.(\d+)\.pkl")
# What `train` leaves to cryoDRGN, and what it then is; the encoder's mask is half the box besides.
USUAL = {"encode_mode": "resid", "pe_type": "gaussian", "pe_dim": None, "feat_sigma": 0.5, "domain": "fourier"}
OTHER_NETWORK = "train one of the usual kind, or give the clusters found in it with --labels"
OF_TRAIN_VAE = "give --weights a training of `cryodrgn train_vae`"


class _PlainLoader(yaml.SafeLoader):
    """Python's own objects, such as numbers of numpy, are none."""


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", lambda _loader, _suffix, _node: None)


def take_training(
    weights: Path, z: Path, config: Path, particles: Particles, settings: Mapping[str, Any], outdir: Path
) -> TrainingRecord:
    """Check a training against the particles and the run's settings, and write it as `train` leaves its own.

    Parameters
    ----------
    weights, z, config : path
        ``weights.N.pkl``, N the epoch, and ``z.N.pkl`` and ``config.yaml`` of the same training; or those of a
        published round's ``latent/``, with its ``training.json`` beside ``config``. A ``run.log`` or ``train.log``
        there tells of losses, ``ind.pkl`` of a round who was trained on.
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
    found = _network(config, facts) | {"learning_rate": own.settings.get("learning_rate") if own else None}
    _refuse_others(config, found, settings, particles.box)
    latent, _ = read_latent(z)
    if latent.shape != (len(particles), found["zdim"]):
        problem = f"has {latent.shape[1]} latent variables of {len(latent):,} particles, where the network has "
        problem += f"{found['zdim']} and the particle file {len(particles):,}"
        remedy = "give --input the particle file that was trained on, with all its rows; one of fewer, as with "
        raise InputError(z, problem, f"{remedy}cryoDRGN's --ind: `drgnalign select --ind`")
    if not np.isfinite(latent).all():
        raise InputError(z, "holds numbers that are not finite", LATENT_REMEDY)
    logs = [path for path in (beside / LOG, beside / "run.log") if path.is_file()]
    record = TrainingRecord(
        epoch=_epoch(weights, own),
        first_epoch=own.first_epoch if own else 1,
        losses=own.losses if own else losses_in(logs[0].read_text(errors="replace")) if logs else [],
        settings=own.settings if own else {name: value for name, value in found.items() if value is not None},
        cryodrgn_version=str(facts["version"]) if facts.get("version") else None,
        device=own.device if own else None,
        taken_from=str(weights.resolve()),
    )
    outdir.mkdir(parents=True, exist_ok=True)
    for source, name in ((weights, WEIGHTS), (z, Z), (config, CONFIG)):
        copy_whole(source, outdir / name)
    if own and (beside / TRAINED_ON).is_file():
        copy_whole(beside / TRAINED_ON, outdir / TRAINED_ON)
    if logs:
        copy_whole(logs[0], outdir / LOG)
    else:
        write_text(outdir / LOG, f"taken from {record.taken_from}, which has no log\n")
    write_record(record, outdir / TRAINING)
    return record


def _read_config(path: Path) -> dict[str, Any]:
    try:
        facts = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(path, f"cannot be read ({' '.join(str(error).split())[:120]})", OF_TRAIN_VAE) from error
    if not isinstance(facts, dict):
        raise InputError(path, "holds no settings of a training", OF_TRAIN_VAE)
    return facts


def _network(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Size of the network, by the names of the run's settings."""
    try:
        lattice, model = facts["lattice_args"], facts["model_args"]
        sizes = {
            "box": lattice["D"] - 1,
            "zdim": model["zdim"],
            "layers": (model["qlayers"], model["players"]),
            "nodes": (model["qdim"], model["pdim"]),
        }
    except (KeyError, TypeError) as error:
        raise InputError(path, "lacks the sizes of a network that `cryodrgn train_vae` trains", OF_TRAIN_VAE) from error
    for name in ("layers", "nodes"):
        encoder, decoder = sizes[name]
        if encoder != decoder:
            problem = f"has {encoder} {name} in the encoder and {decoder} in the decoder; rounds train as many in both"
            raise InputError(path, problem, OTHER_NETWORK)
        sizes[name] = encoder
    usual = USUAL | {"enc_mask": sizes["box"] // 2, "activation": "relu"}
    others = ", ".join(f"{name}: {model[name]}" for name in usual if model.get(name, usual[name]) != usual[name])
    if others:
        raise InputError(path, f"is of another kind of network than rounds train on ({others})", OTHER_NETWORK)
    return sizes


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


def _epoch(weights: Path, own: TrainingRecord | None) -> int:
    numbered = NUMBERED.fullmatch(weights.name)
    if numbered:
        return int(numbered[1])
    if own is None:
        remedy = "give weights.N.pkl with the z.N.pkl of the same epoch, as cryoDRGN names them"
        raise InputError(weights, "does not say of which epoch it is", remedy)
    return own.epoch
