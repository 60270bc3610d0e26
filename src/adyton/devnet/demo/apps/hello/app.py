"""The demonstration's standard application (no enclave): says hello to whoever the arguments name."""

import json
import os
import pathlib
import sys

out = pathlib.Path(os.environ["IEXEC_OUT"])
greeting = "Hello, " + (" ".join(sys.argv[1:]) or "world")
(out / "greeting.txt").write_text(greeting + "\n", encoding="utf-8")
(out / "computed.json").write_text(
    json.dumps({"deterministic-output-path": str(out / "greeting.txt")}), encoding="utf-8"
)
print(greeting)
