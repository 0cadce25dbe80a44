#!/usr/bin/env python3
"""EMBED: principal components and UMAP of the latent variables."""

from drgnalign.steps.embed import main

if __name__ == "__main__":
    main()
