"""From a piece on the belt to a decision: front end, engine, policy and service, without torch."""
