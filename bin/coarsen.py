#!/usr/bin/env python3
"""COARSEN: the images that assignment compares, as fine as its limit asks, whatever the training's are."""

from drgnalign.steps.coarsen import main

if __name__ == "__main__":
    main()
