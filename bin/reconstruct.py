#!/usr/bin/env python3
"""RECONSTRUCT: the process step is the user's `drgnalign reconstruct`."""

from drgnalign.commands.reconstruct import reconstruct

if __name__ == "__main__":
    reconstruct()
