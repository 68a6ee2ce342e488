"""The paper's way: tokens condition the cross-attention of a diffusion model."""
