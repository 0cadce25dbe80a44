#!/usr/bin/env python3
"""REPORT: the page, the table, the figures and the words after a pass."""

from drgnalign.steps.report import main

if __name__ == "__main__":
    main()
