"""What a run is between its tasks: the state that a pass leaves for the next one, and the steps that make it.

`drgnalign.run.state` says which files it is made of. None of these modules reads an image or needs an engine's kernels.
"""
