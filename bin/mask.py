#!/usr/bin/env python3
"""MASK: one mask for a round, which holds what the consensus shows and what any of the clusters does."""

from drgnalign.steps.mask import main

if __name__ == "__main__":
    main()
