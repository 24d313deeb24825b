"""The line: where the belt is, when a valve opens, and a twin to try it on."""
