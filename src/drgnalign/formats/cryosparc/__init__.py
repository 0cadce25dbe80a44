"""cryoSPARC's ``.cs`` particle files: numpy structured arrays, one row a particle, fields named ``slot/field``.

Conventions, with what each rests on:

- ``pose`` is a rotation vector in radians, and ``exp([pose]×)`` is our ``R`` (``x_volume = R x_image``), not its
  transpose: pyem and cryoDRGN's ``parse_pose_csparc`` read it so; the latter gives our ``R`` when it is run.
- ``shift`` has the sign of RELION's origin. It is in pixels of the alignment, ``psize_A`` of the same slot,
  which is not the images' pixel size when a job down-samples (pyem pull request 125).
- ``split`` and ``class`` count from 0, ``blob/idx`` too (pyem).
- ``blob/sign`` −1: the protein is dark in the stored images, +1: white. No public text by cryoSPARC says so. It
  was measured on the images of one imported set (EMPIAR-10076, −1, dark); some third-party scripts read −1 as
  RELION's white. Nothing but the images can decide.
- ``location``: fractions of the micrograph, whose shape is (y, x), y counted from the other end than RELION's
  (pyem's default; it depends on which program corrected the motion).
"""

from drgnalign.formats.cryosparc.read import cs_split, read_classes, read_cs
from drgnalign.formats.cryosparc.write import write_cs, write_rows

__all__ = ["cs_split", "read_classes", "read_cs", "write_cs", "write_rows"]
