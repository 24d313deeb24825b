"""Which alloys there are, what a heat of them holds, and what lies on a belt."""
