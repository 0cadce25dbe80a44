#!/usr/bin/env python3
"""MOTION: half maps of the particles that show one place of a motion."""

from drgnalign.steps.motion import main

if __name__ == "__main__":
    main()
