#!/usr/bin/env python3
"""Versions of the software that results depend on, as YAML; an image may lack cryoDRGN, which runs in its own."""

import platform
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ["numpy", "scipy", "numba", "pandas", "scikit-learn", "umap-learn", "hdbscan"]
PACKAGES = ["drgnalign", "cryodrgn", "torch", *LIBRARIES]

if __name__ == "__main__":
    print(f"python: {platform.python_version()}")
    for package in PACKAGES:
        try:
            print(f"{package}: {version(package)}")
        except PackageNotFoundError:
            print(f"{package}: not in this image")
