#!/bin/sh
# A tiny set through every kernel: the test shows that it all runs, the build keeps what numba compiles for UMAP.
set -eu
export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
drgnalign --version
drgnalign simulate set --particles 60 --box 32 --states 1 --snr 1
drgnalign reconstruct set/truth.star -o map --mask-diameter 180
drgnalign refine set/particles.star --half1 map_half1.mrc --half2 map_half2.mrc --limit 17 --part refined.part -o refined.star
drgnalign reconstruct refined.part -o refined
drgnalign convert refined.star -o refined.par --to parx
drgnalign inspect refined.star
drgnalign score set/truth.star refined.star
# Above 4096 points UMAP looks for neighbours in another way, which takes the longest to compile.
python - <<'EOF'
from pathlib import Path
import numpy as np
from drgnalign.heterogeneity.embed import embed
Path("latent").mkdir()
embed(np.random.default_rng(0).normal(size=(4200, 4)).astype(np.float32), None, 0, Path("latent"))
EOF
