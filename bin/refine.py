#!/usr/bin/env python3
"""REFINE: the process step is the user's `drgnalign refine`."""

from drgnalign.commands.refine import refine

if __name__ == "__main__":
    refine()
