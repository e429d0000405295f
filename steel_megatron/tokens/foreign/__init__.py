"""Token ids that other programs wrote."""
