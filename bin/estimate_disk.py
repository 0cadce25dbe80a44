#!/usr/bin/env python3
"""ESTIMATE_DISK: what the run will write."""

from drgnalign.steps.estimate_disk import main

if __name__ == "__main__":
    main()
