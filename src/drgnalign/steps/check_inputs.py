"""CHECK_INPUTS: a user's particle file, checked and completed."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.background import survey_backgrounds
from drgnalign.commands import (
    EXISTING,
    FILE,
    OUTPUT,
    Command,
    diameter_option,
    half_sets_option,
    normalise_option,
    noted_warnings,
    passthrough_option,
    seed_option,
)
from drgnalign.errors import InputNote
from drgnalign.files import write_text
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.star import write_star
from drgnalign.half_maps import standing
from drgnalign.inputs import images_root, import_particles, undecided
from drgnalign.labels import with_labels
from drgnalign.optics import optics_terms, warn_of_training
from drgnalign.run.inputs import InputsRecord
from drgnalign.run.record import write_record


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--images", type=EXISTING, required=True)
@passthrough_option
@click.option("--ctf", type=FILE, help="cryoDRGN's CTF parameters, where PARTICLES are its poses.")
@click.option("--ind", type=FILE, help="cryoDRGN's index of the images to take.")
@click.option("--pixel-size", type=float)
@click.option("--voltage", type=float)
@click.option("--cs", type=float)
@click.option("--amplitude-contrast", type=float)
@click.option("--invert", type=click.Choice(["auto", "yes", "no"]), default="auto")
@click.option("--labels", type=FILE, help="Clusters of the first round: see drgnalign.labels.")
@normalise_option
@diameter_option
@click.option("--perturb-rotation", type=float, default=0.0)
@click.option("--perturb-shift", type=float, default=0.0)
@half_sets_option
@seed_option
@click.option("--train-box", type=int, required=True)
@click.option("-o", "--output", type=OUTPUT, required=True)
@click.option("--report", type=OUTPUT, required=True, help="What was found, as JSON.")
@click.option("--said", type=OUTPUT, help="What is to be said on the screen of the run.")
def main(
    particles: Path,
    images: Path,
    passthrough: tuple[Path, ...],
    ctf: Path | None,
    ind: Path | None,
    pixel_size: float | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
    invert: str,
    labels: Path | None,
    normalise: str,
    mask_diameter: float | None,
    perturb_rotation: float,
    perturb_shift: float,
    half_sets: str,
    seed: int,
    train_box: int,
    output: Path,
    report: Path,
    said: Path | None,
) -> None:
    """Check PARTICLES and their images; write them as the state of the first pass."""
    with noted_warnings() as noted:
        table = import_particles(
            particles,
            images,
            passthrough=passthrough,
            pixel_size=pixel_size,
            voltage=voltage,
            cs=cs,
            amplitude_contrast=amplitude_contrast,
            invert=invert,
            normalise=normalise,
            mask_diameter=mask_diameter,
            seed=seed,
            perturb_rotation=perturb_rotation,
            perturb_shift=perturb_shift,
            half_sets=half_sets,
            ctf=ctf,
            ind=ind,
        )
        table, given = (table, None) if labels is None else with_labels(table, labels)
        diameter = table.diameter(mask_diameter)
        warn_of_training(table, diameter, min(train_box, table.box))
    terms = optics_terms(table, diameter)
    write_star(undecided(table), output)
    backgrounds = survey_backgrounds(table, images_root(particles, images), diameter)
    facts = InputsRecord(
        input=particles.name,
        particles=len(table),
        box=table.box,
        pixel_size_angstrom=table.pixel_size,
        train_box=min(train_box, table.box - table.box % 2),
        optics_groups=len(table.optics),
        half_sets=[int((table.half_sets() == half).sum()) for half in (1, 2)],
        halves=standing(table, ~table.excluded(), None),
        left_out_by_input=int(table.excluded().sum()),
        contrast=sorted(set(table.optics["drgnContrast"])),
        contrast_from="--invert" if invert != "auto" else "the images or the file",
        normalised=ImageSource(table, images_root(particles, images)).normalises,
        backgrounds=backgrounds.record,
        optics=[term.record for term in terms],
        warnings=list(noted),
        notes=[text for text, category in noted.items() if issubclass(category, InputNote)],
        labels=given,
    )
    write_record(facts, report)
    lines = [f"WARNING: {warning}" for warning in noted]
    if terms:
        lines.append(f"The file says of the lens: {'; '.join(map(str, terms))}")
    if said is not None:
        write_text(said, "".join(f"{line}\n" for line in lines))
