#!/usr/bin/env python3
"""INSERT: a chunk's part of a reconstruction at its present poses."""

from drgnalign.steps.insert import main

if __name__ == "__main__":
    main()
