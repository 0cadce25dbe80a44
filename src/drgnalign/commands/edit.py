"""drgnalign edit: a round's clusters as a person wants them, for `--labels`."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd

from drgnalign.commands import FILE, Command, output_option
from drgnalign.errors import InputError
from drgnalign.files import atomic_path, suffix_of
from drgnalign.formats.star import read_star
from drgnalign.labels import DECISION, WORDS, edited, sizes_in_words


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@output_option
@click.option("--unite", multiple=True, metavar="2,5", help="Clusters that become one, of the first one's number.")
@click.option("--drop", multiple=True, metavar="7", help="Clusters whose particles are left out for good.")
@click.option(
    "--free", multiple=True, metavar="4", help="Clusters whose particles begin in none; images may take them back."
)
@click.option("--relabel", multiple=True, metavar="3:1", help="A cluster, and the number that it gets.")
def edit(
    particles: Path,
    output: Path,
    unite: tuple[str, ...],
    drop: tuple[str, ...],
    free: tuple[str, ...],
    relabel: tuple[str, ...],
) -> None:
    """Write the clusters of PARTICLES, such as a run's round_03/particles.star, as labels for the next run's --labels.

    All options mean the clusters of PARTICLES, and may be given several times. What was decided stands in the file, and
    the run that is given it tells so.
    """
    if suffix_of(output) != ".csv":
        raise InputError(output, "labels are written as CSV", "name a file.csv with -o")
    table = read_star(particles)
    left_out = table.left_out()
    if "rlnClassNumber" not in table.table:
        raise InputError(particles, "has no clusters (rlnClassNumber)", "give round_NN/particles.star of a run")
    labels = np.where(left_out, 0, table.cluster_labels())
    verbs = [("unite", unite), ("drop", drop), ("free", free), ("relabel", relabel)]
    new, decisions = edited(labels, [(verb, words) for verb, given in verbs for words in given], particles)
    if not (new > 0).any():
        raise InputError(particles, "no cluster would be left", "leave one that is neither dropped nor freed")
    rows = pd.DataFrame({"rlnImageName": table.table["rlnImageName"], "label": new, DECISION: decisions})
    named = {number: word for word, number in WORDS.items()}
    rows["label"] = [named.get(label, label) for label in new.tolist()]
    with atomic_path(output) as temporary:
        rows.to_csv(temporary, index=False)
    click.echo(f"{output}: {sizes_in_words(new)}; {(new == 0).sum():,} in none, {(new < 0).sum():,} dropped", err=True)
