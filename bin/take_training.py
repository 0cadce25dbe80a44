#!/usr/bin/env python3
"""TAKE_TRAINING: a training of cryoDRGN's that was done before, in place of the first round's."""

from drgnalign.steps.take_training import main

if __name__ == "__main__":
    main()
