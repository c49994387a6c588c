"""Pictures, sound, video, points and histograms from what was logged: arrays in, arrays or bytes out.

Pure functions on numpy and Pillow. Pillow is imported inside functions only, so
that importing these modules does not load it. No input is changed in place.
"""
