"""The stimuli floor."""
