#!/usr/bin/env python3
"""DECODE: cryoDRGN's maps along the first principal component and at the clusters' centres."""

from drgnalign.steps.decode import main

if __name__ == "__main__":
    main()
