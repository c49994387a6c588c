"""Pages that open from the disk: one self-contained HTML file, escaped, with no request to anywhere."""
