"""The light: from a composition and a laser pulse to the counts of a spectrometer."""
