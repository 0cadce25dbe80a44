#!/usr/bin/env python3
"""TRAIN: cryoDRGN on the present poses."""

from drgnalign.steps.train import main

if __name__ == "__main__":
    main()
