"""drgnalign embed: principal components and UMAP of a training's latent variables."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FOLDER, Command, seed_option
from drgnalign.errors import DrgnalignError, InputError
from drgnalign.formats.cryodrgn import read_latent
from drgnalign.heterogeneity.train import trained_on
from drgnalign.run.latent import EMBEDDING, Z
from drgnalign.run.state import METRICS


@click.command(cls=Command)
@click.argument("latent", type=FOLDER)
@click.option("--last-latent", type=FOLDER, help="Another of these particles, from whose embedding this one starts.")
@seed_option
def embed(latent: Path, last_latent: Path | None, seed: int) -> None:
    """Write principal components and UMAP of the latent variables in LATENT into it, a folder of train or linear."""
    if not (latent / Z).is_file():
        raise InputError(latent, f"has no {Z}", "give a folder of `drgnalign train` or `drgnalign linear`")
    if any((above / METRICS).is_file() for above in latent.resolve().parents[:2]):
        raise InputError(latent, "is of a round of a run, whose results stay as they are", "copy the folder first")
    # takes seconds to import
    from drgnalign.heterogeneity.embed import embed as embedded

    z = read_latent(latent / Z)[0]
    try:
        made = embedded(z, last_latent, seed, latent, trained_on(latent, len(z)))
    except DrgnalignError as error:
        raise type(error)(error.file or latent / Z, error.problem, error.remedy) from error
    shares = ", ".join(f"{share:.0%}" for share in made.explained_variance[:3])
    click.echo(
        f"{latent / EMBEDDING}: {len(z):,} particles; the first components have {shares} of the variance", err=True
    )
