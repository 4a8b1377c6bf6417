"""Calls a function of the page's code for Python: its name, then its arguments as JSON. Prints the answer as JSON."""

import json
import re
import sys

import push

name = re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), sys.argv[1])
answer = getattr(push, name)(*map(json.loads, sys.argv[2:]))
# The package's calls answer later.
print(json.dumps(answer.result(10) if hasattr(answer, "result") else answer))
