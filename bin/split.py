#!/usr/bin/env python3
"""SPLIT: clusters and chunks of a pass, and the plan of what is done with them."""

from drgnalign.steps.split import main

if __name__ == "__main__":
    main()
