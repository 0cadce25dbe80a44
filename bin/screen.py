#!/usr/bin/env python3
"""SCREEN: which particles match the consensus at no pose; better poses for those that match it elsewhere."""

from drgnalign.steps.screen import main

if __name__ == "__main__":
    main()
