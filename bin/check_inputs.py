#!/usr/bin/env python3
"""CHECK_INPUTS: a user's particle file, checked and completed."""

from drgnalign.steps.check_inputs import main

if __name__ == "__main__":
    main()
