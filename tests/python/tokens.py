"""Makes tokens with PyPI `PyJWT`; asked and answered as `tests/node/tokens.mjs` is."""

import json
import sys

import jwt

for line in sys.stdin:
    asked = json.loads(line)
    token = jwt.encode(asked["claims"], asked["key"], asked["alg"], headers={"kid": asked["kid"]})
    print(json.dumps(token), flush=True)
