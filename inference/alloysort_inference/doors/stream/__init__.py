"""The stream door: one WebSocket a line, binary messages, pipelined, answers matched by id."""
