#!/usr/bin/env python3
"""Make a labelled particle set of the 50S ribosomal subunit's assembly states (see README.md)."""

from __future__ import annotations

import gzip
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from drgnalign.errors import DrgnalignError, InputError
from drgnalign.simulate import Nuisances, Specimen, Spectrum, simulate_set

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
# Å: EMPIAR-10076 has 320 px of 1.31 Å. Its noise spectrum's shells are counted in 1/FIELD too.
FIELD = 419.2
SIZES = {"tiny": (32, 3000), "small": (64, 6000), "medium": (128, 10000)}
# Medians, degrees and Å.
ROTATION_ERROR, SHIFT_ERROR = 4.0, 2.0
STATES = "E,D,C,B"
# A domain is part of a state where its occupancy is above this.
OCCUPANCY = 0.35
ATOMIC_NUMBER = {"C": 6, "N": 7, "O": 8, "P": 15, "S": 16}
NOT_THE_MODEL = {"HOH", "MG", "ZN"}


def existing(path: Path) -> Path:
    if not path.exists():
        raise InputError(path, "not there", "give the test data's folder with --data")
    return path


def read_atoms(path: Path) -> pd.DataFrame:
    """Atoms of a gzipped PDB file: chain, x, y, z (Å) and weight (atomic number), without water and ions."""
    with gzip.open(path, "rt") as lines:
        rows = [
            (line[21], float(line[30:38]), float(line[38:46]), float(line[46:54]), ATOMIC_NUMBER[line[77]])
            for line in lines
            if line.startswith(("ATOM  ", "HETATM")) and line[17:20].strip() not in NOT_THE_MODEL
        ]
    return pd.DataFrame(rows, columns=["chain", "x", "y", "z", "weight"])


def read_model(folder: Path) -> pd.DataFrame:
    """All atoms of the model, centred on its centre of mass; column `domain` as in the occupancy table."""
    parts = []
    for file in sorted(folder.glob("*.pdb.gz")):
        atoms = read_atoms(file)
        atoms["domain"] = file.name.removesuffix(".pdb.gz") + "_" + atoms["chain"].str.lower()
        parts.append(atoms)
    model = pd.concat(parts, ignore_index=True)
    xyz = ["x", "y", "z"]
    model[xyz] -= np.average(model[xyz], axis=0, weights=model["weight"])
    return model


def read_states(folder: Path, names: list[str]) -> list[Specimen]:
    """The model's domains that are present in each of the named states (columns of the occupancy table)."""
    table = existing(folder / "domain_occupancy_20maps.csv")
    occupancy = pd.read_csv(table, index_col="domain")
    unknown = [name for name in names if name not in occupancy]
    if unknown:
        known = ", ".join(occupancy.columns[1:])
        raise InputError(table, f"no state {', '.join(unknown)}", f"choose from {known}")
    model = read_model(folder)
    states = []
    for name in names:
        domains = occupancy.index[occupancy[name] > OCCUPANCY]
        atoms = model[model["domain"].isin(domains)]
        states.append(Specimen(atoms[["x", "y", "z"]].to_numpy(float), atoms["weight"].to_numpy(float)))
    return states


def unpickle(path: Path) -> Any:
    with existing(path).open("rb") as file:
        return pickle.load(file)


def read_particles(
    folder: Path, n: int, box: int, seed: int
) -> tuple[pd.DataFrame, NDArray[np.float64], NDArray[np.float64]]:
    """Defoci, rotations and displacements (px) of n particles drawn from those kept in the real data set.

    cryoDRGN stores the transposed rotation, and the shift that centres the image as a fraction of the box.
    """
    kept = unpickle(folder / "filtered.ind.pkl")
    if n > len(kept):
        raise InputError(folder, f"{n} particles asked for, {len(kept)} there", "ask for fewer")
    rows = np.random.default_rng(seed).choice(kept, n, replace=False)
    ctf = unpickle(folder / "ctf_10076.pkl")[rows]
    rotations, translations = unpickle(folder / "poses_10076.pkl")
    columns = ["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]
    defoci = pd.DataFrame(ctf[:, 2:5].astype(float), columns=columns)
    return defoci, rotations[rows].transpose(0, 2, 1).astype(float), -box * translations[rows].astype(float)


def read_spectrum(folder: Path) -> Spectrum:
    """Relative noise power; the table's 127 values are taken as shells 1 to 127."""
    power = unpickle(folder / "noise_10076.pkl").astype(float)
    return Spectrum(np.arange(1, len(power) + 1) / FIELD, power)


def simulate_50s(
    out: Path,
    specimens: Sequence[Specimen],
    populations: Sequence[float],
    n: int,
    box: int,
    *,
    snr: float,
    seed: int,
    data: Path = DATA,
    rotation_error: float = ROTATION_ERROR,
    shift_error: float = SHIFT_ERROR,
    nuisances: Nuisances | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Simulate a set with defoci, views, displacements and noise spectrum of EMPIAR-10076; see `simulate_set`."""
    empiar = data / "empiar10076"
    defoci, rotations, displacements = read_particles(empiar, n, box, seed)
    simulate_set(
        out,
        specimens,
        populations,
        n,
        box,
        FIELD / box,
        snr=snr,
        rotation_error_deg=rotation_error,
        shift_error_angstrom=shift_error,
        defoci=defoci,
        rotations=rotations,
        displacements=displacements,
        noise_spectrum=read_spectrum(empiar),
        nuisances=nuisances,
        seed=seed,
        progress=progress,
    )


def split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


@click.command(context_settings={"show_default": True})
@click.option("--size", type=click.Choice(list(SIZES)), default="small", help="Box and number of particles.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the set.")
@click.option("--data", type=click.Path(path_type=Path), default=DATA, show_default=False, help="Test data.")
@click.option("--states", default=STATES, help="Columns of the domain occupancy table.")
@click.option("--populations", default="0.4,0.3,0.2,0.1", help="Share of each state.")
@click.option("--particles", type=click.IntRange(1), help="Number of particles instead of the size's.")
@click.option("--box", type=click.IntRange(16), help="Box in px instead of the size's.")
@click.option("--rotation-error", type=click.FloatRange(0), default=ROTATION_ERROR, help="Median, degrees.")
@click.option("--shift-error", type=click.FloatRange(0), default=SHIFT_ERROR, help="Median, Å.")
@click.option("--snr", type=click.FloatRange(0, min_open=True), default=0.1, help="Per pixel.")
@click.option("--seed", type=int, default=0)
def main(
    size: str,
    out: Path,
    data: Path,
    states: str,
    populations: str,
    particles: int | None,
    box: int | None,
    rotation_error: float,
    shift_error: float,
    snr: float,
    seed: int,
) -> None:
    """Make a labelled set of 50S assembly states from the atomic model and EMPIAR-10076's metadata."""
    box = box or SIZES[size][0]
    n = particles or SIZES[size][1]
    try:
        shares = [float(share) for share in split(populations)]
    except ValueError as error:
        raise click.BadParameter("not a list of numbers", param_hint="--populations") from error
    try:
        with tqdm(total=n, unit="image", disable=None) as bar:
            simulate_50s(
                out,
                read_states(data / "model50S", split(states)),
                shares,
                n,
                box,
                snr=snr,
                seed=seed,
                data=data,
                rotation_error=rotation_error,
                shift_error=shift_error,
                progress=bar.update,
            )
    except DrgnalignError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
