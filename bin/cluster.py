#!/usr/bin/env python3
"""CLUSTER: labels in latent space, matched to the last round's."""

from drgnalign.steps.cluster import main

if __name__ == "__main__":
    main()
