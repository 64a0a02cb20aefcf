"""Statistics of reader studies: pure functions of arrays, each checked against a published example."""
