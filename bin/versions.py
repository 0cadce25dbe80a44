#!/usr/bin/env python3
"""Versions of the software that results depend on, as YAML."""

import platform
from importlib.metadata import version

LIBRARIES = ["numpy", "scipy", "numba", "pandas", "scikit-learn", "umap-learn", "hdbscan"]
PACKAGES = ["drgnalign", "cryodrgn", "torch", *LIBRARIES]

if __name__ == "__main__":
    print(f"python: {platform.python_version()}")
    for package in PACKAGES:
        print(f"{package}: {version(package)}")
