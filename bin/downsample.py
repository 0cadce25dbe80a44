#!/usr/bin/env python3
"""DOWNSAMPLE: every image is read, checked, and written smaller; the noise spectrum is measured."""

from drgnalign.steps.downsample import main

if __name__ == "__main__":
    main()
