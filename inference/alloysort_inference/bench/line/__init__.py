"""The digital twin: pieces on a simulated belt, sorted by the real engine, policy and valve timing."""
