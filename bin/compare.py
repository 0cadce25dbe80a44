#!/usr/bin/env python3
"""COMPARE: a round's maps against maps and models that the user knows."""

from drgnalign.steps.compare import main

if __name__ == "__main__":
    main()
