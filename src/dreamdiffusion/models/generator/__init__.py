"""VAE, U-Net and CLIP: load, encode, decode, train from nothing."""
