"""What a run found, held against the truth of a labelled set (`drgnalign.simulate` makes some)."""
