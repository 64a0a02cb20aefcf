"""The warm process behind a viewer: requests and events as JSON lines, arrays as files. See docs/worker.md."""

PROTOCOL = 1
