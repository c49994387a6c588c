"""What boxes have in common: overlap, suppression, matching, average precision."""
