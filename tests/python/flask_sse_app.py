"""A Flask app that publishes with PyPI `flask-sse`. Argument: the URL of Redis.

Each line on stdin is an object with the arguments of `sse.publish`; each is answered by a line.
"""

import json
import sys

from flask import Flask
from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = sys.argv[1]
app.register_blueprint(sse, url_prefix="/stream")

with app.app_context():
    for line in sys.stdin:
        sse.publish(**json.loads(line))
        print(json.dumps({"published": True}), flush=True)
