#!/usr/bin/env python3
"""DIGEST: a digest of the code behind each step."""

from drgnalign.steps.digest import main

if __name__ == "__main__":
    main()
