#!/usr/bin/env python3
"""Versions of the software that results depend on, as YAML."""

import platform
from importlib.metadata import version

PACKAGES = [
    "drgnalign",
    "cryodrgn",
    "torch",
    "numpy",
    "scipy",
    "numba",
    "pandas",
    "scikit-learn",
    "umap-learn",
    "hdbscan",
]

if __name__ == "__main__":
    print(f"python: {platform.python_version()}")
    for package in PACKAGES:
        print(f"{package}: {version(package)}")
