#!/usr/bin/env python3
"""NOTE_DECISIONS: which files of their own people gave the run, and what they decide."""

from drgnalign.steps.note_decisions import main

if __name__ == "__main__":
    main()
