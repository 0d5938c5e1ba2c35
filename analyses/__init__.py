"""The analyses floor."""
