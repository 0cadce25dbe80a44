#!/usr/bin/env python3
"""REASSIGN: the images choose again among a round's clusters, at the refined poses."""

from drgnalign.steps.reassign import main

if __name__ == "__main__":
    main()
