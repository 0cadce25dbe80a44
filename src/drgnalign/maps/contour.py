"""Where maps are contoured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import FloatVolume

# Bins of Otsu's method, and the least contour, as a share of a map's range.
BINS, LEAST = 256, 1 / 255


def contour_of(volume: FloatVolume, mask: NDArray[np.bool_]) -> float:
    """A value at which a map is to be contoured: half the mean of what is particle within the mask.

    Half the height is where the edge of an even body lies, however blurred. What is particle is told from what is
    solvent by the threshold that leaves least variance within the two (Otsu 1979, IEEE Trans. Syst. Man Cybern. 9, 62);
    neither the noise's level nor the particle's mass has to be known.

    Parameters
    ----------
    volume : (N, N, N) float array
    mask : (N, N, N) bool
        Holds particle and some of the solvent around it.

    Returns
    -------
    float
        Positive, also of a map that is empty.
    """
    values = np.asarray(volume[mask] if mask.any() else volume, np.float64).ravel()
    if np.ptp(values) == 0:
        return 1.0
    counts, edges = np.histogram(values, BINS)
    middles = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)[:-1]
    above = len(values) - below
    sums = np.cumsum(counts * middles)
    apart = sums[:-1] / np.maximum(below, 1) - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    threshold = edges[1 + int(np.argmax(below * above * apart**2))]
    return max(0.5 * float(values[values >= threshold].mean()), LEAST * float(np.ptp(values)))
