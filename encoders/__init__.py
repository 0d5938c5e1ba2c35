"""The encoders floor."""
