"""What differs between particles: latent spaces, their pictures, clusters and maps, and what images say of these."""
