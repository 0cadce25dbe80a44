"""The native engine: local pose refinement and reconstruction in Fourier space."""
