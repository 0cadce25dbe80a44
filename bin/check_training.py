#!/usr/bin/env python3
"""CHECK_TRAINING: a GPU, or how long training takes without one."""

from drgnalign.steps.check_training import main

if __name__ == "__main__":
    main()
