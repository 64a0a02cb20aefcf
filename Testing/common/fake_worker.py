"""A worker without torch that does as it is told: for what the real one does too rarely."""

import json
import os
import sys
import time


def tell(event, number, **facts):
    sys.stdout.write(json.dumps({"event": event, "id": number, **facts}) + "\n")
    sys.stdout.flush()


def main():
    if "FAKE_FAILS" in os.environ:
        sys.exit("No module named torch")
    if "FAKE_SLEEPS" in os.environ:
        time.sleep(600)
    running = None
    for line in sys.stdin:
        ask = json.loads(line)
        name, number = ask["request"], ask["id"]
        if name == "hello":
            tell("result", number, protocol=int(os.environ.get("FAKE_PROTOCOL", "1")), version="0.0")
        elif name == "quit":
            break
        elif name == "echo":
            tell("progress", number, stage="heal", done=1, total=2, seconds_left=None)
            tell("result", number, fields=ask)
        elif name == "lost":
            tell("result", number, arrays={"a": os.path.join(ask["folder"], "missing.npy")})
        elif name == "noise":
            sys.stdout.write("this is no event\n[1]\n")
            sys.stdout.buffer.flush()
            tell("result", number)
        elif name == "die":
            sys.stderr.write("last words\n")
            sys.stderr.flush()
            os._exit(3)
        elif name == "hang":
            time.sleep(600)
        elif name == "gpu":
            tell("error", number, error={"class": "DeviceLostError", "what": "The GPU failed during the work."})
        elif name in ("deaf", "polite"):
            running = ask
            tell("progress", number, stage="heal", done=0, total=1, seconds_left=None)
        elif name == "cancel" and running["request"] == "polite":
            time.sleep(0.05)
            tell("cancelled", ask["target"])


main()
