#!/usr/bin/env python3
"""MERGE: refined chunks and maps become the next state; the pass's metrics; the stop rule."""

from drgnalign.steps.merge import main

if __name__ == "__main__":
    main()
