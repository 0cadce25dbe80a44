"""Point groups, in RELION's settings of the axes."""

from __future__ import annotations

import re

import numpy as np
import scipy
from numpy.typing import NDArray

from drgnalign.errors import InputError

# (order, axis) of rotations that make the group, in RELION's settings (its symmetries.cpp): C and D about z (D: a
# two-fold along x), T with a three-fold along z, O with four-folds along the axes, I with two-folds along the axes: I2
# (or I) with a five-fold in the xz plane near z, I1 with one near x.
GOLDEN = (1 + np.sqrt(5)) / 2
_GENERATORS: dict[str, tuple[tuple[int, tuple[float, float, float]], ...]] = {
    "T": ((3, (0, 0, 1)), (2, (0, np.sqrt(2 / 3), np.sqrt(1 / 3)))),
    "O": ((4, (0, 0, 1)), (3, (1, 1, 1))),
    "I": ((2, (0, 0, 1)), (5, (1, 0, GOLDEN))),
    "I1": ((2, (0, 0, 1)), (5, (GOLDEN, 0, -1))),
    "I2": ((2, (0, 0, 1)), (5, (1, 0, GOLDEN))),
}
_CLOSE = 1e-6


def point_group(name: str) -> NDArray[np.float64]:
    """All rotations of a point group.

    Parameters
    ----------
    name : str
        C1, C2, …, D1, D2, …, T, O, I, I1 or I2, in either case.

    Returns
    -------
    (n, 3, 3) float64
        The identity first. A map V has the symmetry if V(g x) = V(x) for each g, so that poses R and g R are alike.

    Raises
    ------
    InputError
        No such point group.
    """
    found = re.fullmatch(r"([CD])([1-9]\d?)|T|O|I[12]?", name.upper())
    if not found:
        raise InputError(None, f"no point group is called {name!r}", "give C1, C4, D7, T, O, I1, I2, …")
    generators = _GENERATORS.get(name.upper(), ())
    if found[1]:
        generators = ((int(found[2]), (0, 0, 1)), *(((2, (1, 0, 0)),) if found[1] == "D" else ()))
    steps = [_turn(order, np.array(axis, float)) for order, axis in generators]
    elements = [np.eye(3)]
    for element in elements:  # grows while it is gone through
        for step in steps:
            product = step @ element
            if not any(np.abs(product - known).max() < _CLOSE for known in elements):
                elements.append(product)
    return np.array(elements)


def _turn(order: int, axis: NDArray[np.float64]) -> NDArray[np.float64]:
    vector = 2 * np.pi / order * axis / np.linalg.norm(axis)
    matrix: NDArray[np.float64] = scipy.spatial.transform.Rotation.from_rotvec(vector).as_matrix()
    return matrix
