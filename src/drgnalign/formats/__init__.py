"""File formats: file ↔ particle table or arrays, nothing else."""
