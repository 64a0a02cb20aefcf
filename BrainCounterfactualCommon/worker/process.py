"""The worker's process: its pipes, the threads that read them, and its end."""

import collections
import contextlib
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np

LAST_LINES = 40


class WorkerProcess:
    """A running worker. What it tells is put into ``events`` as ``(this object, event)``.

    Arrays of results and previews are loaded by the reading thread, so that the application does not wait for the
    disk. After the last event comes ``{"event": "died", "code": exit code, "lines": last lines of stderr}``.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, command, environment, folder, events):
        options = {"start_new_session": True}  # a group of its own, so that it can be ended with its children
        if os.name == "nt":
            options = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, "BRAINDIFFUSION_CLIENT_FOLDER": str(folder)},
            cwd=folder,
            **options,
        )
        self.pid = self._process.pid
        self._events, self._lines, self._killed = events, collections.deque(maxlen=LAST_LINES), False
        self._errors = threading.Thread(target=self._readErrors, name="worker stderr", daemon=True)
        self._errors.start()
        threading.Thread(target=self._readEvents, name="worker stdout", daemon=True).start()

    def isRunning(self):
        return self._process.poll() is None

    def send(self, message):
        """Write one request. A worker that has died does not answer; its end arrives as an event."""
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            self._process.stdin.flush()

    def wait(self, timeoutSeconds):
        """Wait for its end; whether it came."""
        try:
            self._process.wait(timeoutSeconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self):
        """End it and its children at once, and close the pipes."""
        if self._killed:
            return
        self._killed = True
        if os.name == "nt":
            if self.isRunning():
                subprocess.run(
                    ["taskkill", "/F", "/T", "/PID", str(self.pid)],
                    capture_output=True,
                    creationflags=subprocess.CREATE_NO_WINDOW,
                )
        else:
            with contextlib.suppress(OSError):  # the group is gone already
                os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self.wait(2.0)

    def _readEvents(self):
        with self._process.stdout as pipe:
            for line in pipe:
                try:
                    event = json.loads(line)
                    known = isinstance(event, dict) and isinstance(event.get("event"), str)
                except ValueError:
                    known = False
                if known:
                    self._events.put((self, _withArrays(event)))
                else:
                    self._log(f"Not an event: {line[:200]!r}")
        self.wait(2.0)
        self._errors.join(1.0)
        self._events.put((self, {"event": "died", "code": self._process.poll(), "lines": list(self._lines)}))

    def _readErrors(self):
        with self._process.stderr as pipe:
            for line in pipe:
                self._log(line.decode("utf-8", "replace").rstrip())

    def _log(self, line):
        self._lines.append(line)
        self._events.put((self, {"event": "log", "line": line}))


def _withArrays(event):
    """The event with its arrays loaded in place of their paths; an error event where that fails."""
    try:
        if event["event"] == "result":
            event["arrays"] = {name: _load(path) for name, path in event.get("arrays", {}).items()}
        elif event["event"] == "preview":
            event["array"] = _load(event["array"])
    except (OSError, ValueError, EOFError) as error:
        action = "Try again. If it stays, look for free space on the disk."
        reason = {"class": "OutputError", "what": "The result could not be read.", "cause": str(error)}
        kind = "error" if event["event"] == "result" else "lost"
        return {"event": kind, "id": event.get("id"), "error": {**reason, "action": action}}
    return event


def _load(path):
    values = np.load(path, allow_pickle=False)
    with contextlib.suppress(OSError):
        Path(path).unlink()
    return values
