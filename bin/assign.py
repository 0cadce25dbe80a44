#!/usr/bin/env python3
"""ASSIGN: the images choose among the clusters that the latent space proposes, and say how many there are."""

from drgnalign.steps.assign import main

if __name__ == "__main__":
    main()
