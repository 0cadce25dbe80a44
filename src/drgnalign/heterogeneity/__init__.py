"""What differs between particles: cryoDRGN's latent space, its pictures, its clusters and its maps."""
