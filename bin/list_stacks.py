#!/usr/bin/env python3
"""LIST_STACKS: the stacks that a particle file names."""

from drgnalign.steps.list_stacks import main

if __name__ == "__main__":
    main()
