#!/usr/bin/env python3
"""FIT: a linear latent model of the present poses, what each image says of it, and points that describe that."""

from drgnalign.steps.fit import main

if __name__ == "__main__":
    main()
