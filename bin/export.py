#!/usr/bin/env python3
"""EXPORT: maps, FSC and particles of the last state's clusters, for other programs."""

from drgnalign.steps.export import main

if __name__ == "__main__":
    main()
