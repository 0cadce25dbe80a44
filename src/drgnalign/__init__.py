"""drgnalign: refine the hidden states of heterogeneous cryo-EM data sets, one cluster at a time."""

__version__ = "0.1.0"
