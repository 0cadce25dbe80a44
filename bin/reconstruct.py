#!/usr/bin/env python3
"""RECONSTRUCT: the process step is the user's `drgnalign reconstruct`."""

from drgnalign.cli import reconstruct

if __name__ == "__main__":
    reconstruct()
