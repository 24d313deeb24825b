"""Whether the sensors and the feed are still what the model was made for."""
