#!/usr/bin/env python3
"""CHECK_SETTINGS: what the run will ask of the particles, held against what they are."""

from drgnalign.steps.check_settings import main

if __name__ == "__main__":
    main()
