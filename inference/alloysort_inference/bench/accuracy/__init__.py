"""How good a bundle is on a piece table, measured the way of the line: front end, engine, policy."""
