"""What a file is, what is in it, and what looks wrong with it: `drgnalign inspect`.

Files are told by their names, and by their content where the name is not enough. Of stacks only headers and a few
images are read; pickles are read by `drgnalign.formats.pickles` and weights not at all.

An ``error`` is what no program can use, or drgnalign would refuse; a ``warning`` is possible but rarely meant; a
``note`` is worth knowing.
"""

from drgnalign.inspect.kinds import inspect_file
from drgnalign.inspect.text import report_text

__all__ = ["inspect_file", "report_text"]
