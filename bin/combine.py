#!/usr/bin/env python3
"""COMBINE: a linear model's maps along the first principal component and at the clusters' centres."""

from drgnalign.steps.combine import main

if __name__ == "__main__":
    main()
