"""PyPI `pusher`. Arguments: the port of the internal listener, app id, key, secret.

Each line on stdin is {"trigger": [channels, event, data, socket_id]}, {"batch": [events]} or the name of another method
with its arguments, as {"channels_info": ["presence-", ["user_count"]]}; each is answered by a line.
"""

import json
import sys

import pusher

port, app_id, key, secret = sys.argv[1:]
client = pusher.Pusher(app_id=app_id, key=key, secret=secret, host="127.0.0.1", port=int(port), ssl=False)
for line in sys.stdin:
    [(method, arguments)] = json.loads(line).items()
    try:
        answer = client.trigger_batch(arguments) if method == "batch" else getattr(client, method)(*arguments)
        print(json.dumps({"status": 200, "body": json.dumps(answer)}), flush=True)
    except pusher.errors.PusherError as error:
        print(json.dumps({"status": type(error).__name__, "body": str(error)}), flush=True)
