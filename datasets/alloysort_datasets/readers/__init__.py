"""Other people's files: spectra and pictures, refused with a reason or read right."""
