"""The publisher against the real daemon."""

import contextlib
import http.server
import socket
import threading
import time
import unittest
import uuid

from .harness import KEY, ROUTE, Case, Daemon, Stream, eventually
from sidestream import SidestreamError, create_notification_event, create_typing_event, verify_webhook


class Cut(Exception):
    pass


class TheDaemon(Case):
    def test_every_call_of_a_service_that_it_replaces_does_what_it_did(self):
        daemon = Daemon(self)
        push = self.publisher(daemon.url)
        anna = Stream(self, daemon, "userId=anna%2F1+%26&sessionId=s1&conversationId=42")
        ben = Stream(self, daemon, "userId=ben&sessionId=s2&conversationId=42")
        name = "anna/1 &"

        receipt = push.send_to_user(name, "direct", {"n": 1}).result(5)
        self.assertTrue(receipt["id"])
        self.assertEqual(receipt["matched"], 1)
        push.send_to_users([name, "ben"], "both", {"n": 2})
        push.broadcast_to_conversation(42, "talk", {"n": 3}, name)
        push.broadcast_to_conversation("42", "talk", {"n": 4})
        push.send_to_session("s1", "session", {"n": 5})
        push.send_to_client(anna.client, "client", {"n": 6})
        push.send_to_topic("conversation:42", "topic", {"n": 7}, except_={"user": "ben"})
        push.send_to_user(name, create_notification_event({"n": 8}))
        push.broadcast_to_conversation(42, create_typing_event({"n": 9}), except_user=name)
        call = push.send_to_all("all", {"n": 10})
        self.assertEqual(call.wait(5).status, "done")
        self.assertEqual(call.value["matched"], 2)
        self.assertEqual(push.send_to_users([], "nobody", 1).value, {"id": None, "matched": 0})

        def names(stream, count):
            events = [stream.next() for _ in range(count)]
            return ["%s %d" % (event["event"], event["data"]["n"]) for event in events]

        expected = ["direct 1", "both 2", "talk 4", "session 5", "client 6", "topic 7", "notification 8", "all 10"]
        self.assertEqual(names(anna, 8), expected)
        self.assertEqual(names(ben, 5), ["both 2", "talk 3", "talk 4", "typing 9", "all 10"])

        self.assertTrue(push.has_connection(name))
        self.assertFalse(push.has_connection("nobody"))
        eventually("ben is online", lambda: push.is_online("ben"))
        self.assertFalse(push.is_online("nobody"))
        self.assertEqual(push.get_connection_count(), 2)
        self.assertEqual(push.get_connection_count(topic="conversation:42", user="ben"), 1)
        clients = sorted(connection["client"] for connection in push.get_active_connections())
        self.assertEqual(clients, sorted([anna.client, ben.client]))
        stats = push.get_stats()
        self.assertEqual((stats["total"], len(stats["instances"]), stats["publisher"]["done"]), (2, 1, 10))

        self.assertEqual(push.disconnect_client(anna.client).result(5)["closed"], 1)
        self.assertEqual(anna.next()["event"], "closing")
        self.assertIsNone(anna.next())
        self.assertEqual(push.disconnect_client(anna.client).result(5)["closed"], 0)
        eventually("one is left", lambda: push.get_connection_count() == 1)

    def test_all_pages_of_the_connections_are_read(self):
        daemon = Daemon(self)
        push = self.publisher(daemon.url)
        streams = [Stream(self, daemon, "userId=u%d&sessionId=s&conversationId=1" % n) for n in range(7)]
        clients = sorted(stream.client for stream in streams)
        self.assertEqual(sorted(one["client"] for one in push.query.connections(limit=2)), clients)
        self.assertEqual(len(push.get_active_connections()), 7)
        eventually("all are online", lambda: push.query.presence()["users_total"] == 7)
        self.assertEqual(sorted(push.query.online()), ["u%d" % n for n in range(7)])

    def test_calls_arrive_in_their_order_whatever_their_kind(self):
        daemon = Daemon(self)
        push = self.publisher(daemon.url)
        anna = Stream(self, daemon, "userId=anna&sessionId=s1&conversationId=42")
        for n in range(0, 400, 2):
            push.send_to_user("anna", "pair", n)
            push.broadcast_to_conversation(42, "pair", n + 1)
        push.give_topics(["extra"], user="anna")
        push.send_to_topic("extra", "pair", 400)
        push.take_topics(["extra"], user="anna")
        push.send_to_topic("extra", "pair", "not hers")
        push.send_to_user("anna", "pair", 401)
        self.assertTrue(push.flush())
        self.assertEqual(anna.take(402), list(range(402)))
        push.disconnect_user("anna", reconnect=False, for_="1m")
        push.send_to_user("anna", "pair", 402)
        self.assertEqual(anna.next()["data"], {"reason": "sent_away", "reconnect": False})
        self.assertEqual(push.counters().failed, 0)

    def test_threads_share_a_publisher(self):
        daemon = Daemon(self)
        push = self.publisher(daemon.url)
        anna = Stream(self, daemon, "userId=anna&sessionId=s1&conversationId=42")

        def work(thread):
            for n in range(50):
                push.send_to_user("anna", "n", [thread, n])
                self.assertTrue(push.has_connection("anna"))

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        got = anna.take(400)
        for thread in range(8):
            self.assertEqual([n for by, n in got if by == thread], list(range(50)))

    def test_a_daemon_that_restarts_gets_what_was_called_meanwhile_once_and_in_order(self):
        daemon = Daemon(self)
        said = []
        push = self.publisher(daemon.url, on_down=lambda _: said.append("down"), on_up=lambda: said.append("up"))
        push.broadcast_to_conversation(42, "n", -1).result(5)
        daemon.kill()
        push.broadcast_to_conversation(42, "n", 0)
        eventually("it is known to be away", lambda: push.counters().reachable is False)
        for n in range(1, 50):
            began = time.monotonic()
            self.assertEqual(push.broadcast_to_conversation(42, "n", n).wait().status, "queued")
            self.assertLess(time.monotonic() - began, 0.2)
        daemon.run()
        self.assertTrue(push.flush())
        push.broadcast_to_conversation(42, "n", 50).result(5)
        events = push.query.events("conversation:42")["events"]
        self.assertEqual([int(event["data"]) for event in events], list(range(51)))
        self.assertEqual(said, ["down", "up"])
        self.assertEqual(push.counters().done, 52)

    def test_a_stopped_daemon_hangs_no_caller_and_has_every_event_once_when_it_goes_on(self):
        daemon = Daemon(self)
        push = self.publisher(daemon.url, timeout=0.3, query_timeout=0.3, patience=0.1)
        anna = Stream(self, daemon, "userId=anna&sessionId=s1&conversationId=42")
        daemon.stop()
        began = time.monotonic()
        for n in range(30):
            push.send_to_user("anna", "n", n)
        self.assertEqual(push.send_to_user("anna", "n", 30).wait().status, "queued")
        for n in range(20):
            self.assertFalse(push.has_connection("anna"))
        self.assertLess(time.monotonic() - began, 2.5)
        eventually("it has been tried twice", lambda: push.counters().retries >= 2)
        daemon.resume()
        self.assertTrue(push.flush())
        push.send_to_user("anna", "n", 31)
        self.assertEqual(anna.take(32), list(range(32)))

    def test_an_answer_that_is_cut_costs_no_event_and_doubles_none(self):
        daemon = Daemon(self)
        cuts = [6]
        proxy = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(proxy.close)
        host, port = daemon.internal.split(":")

        def pipe(source, sink, change):
            with contextlib.suppress(OSError):
                while True:
                    part = source.recv(65536)
                    sink.sendall(change(part))
                    if not part:
                        break
            for each in (source, sink):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

        def answer(part):
            if part and cuts[0] > 0:
                # Half of the answer's head, or nothing of it, and the line is cut.
                cuts[0] -= 1
                raise Cut(part[: 0 if cuts[0] % 2 else len(part) // 2])
            return part

        def back(server, client):
            try:
                pipe(server, client, answer)
            except Cut as cut:
                with contextlib.suppress(OSError):
                    client.sendall(cut.args[0])
                for each in (client, server):
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)

        def there(client):
            with client, socket.create_connection((host, int(port))) as server:
                thread = threading.Thread(target=back, args=(server, client), daemon=True)
                thread.start()
                pipe(client, server, lambda part: part)
                thread.join()

        def accept():
            while True:
                try:
                    client, _ = proxy.accept()
                except OSError:
                    return
                threading.Thread(target=there, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        push = self.publisher("http://127.0.0.1:%d" % proxy.getsockname()[1])
        anna = Stream(self, daemon, "userId=anna&sessionId=s1&conversationId=42")
        for n in range(30):
            push.send_to_user("anna", "n", n)
            if n % 3 == 0:
                time.sleep(0.005)
        push.send_to_user("anna", "n", 30).result(20)
        self.assertEqual(cuts, [0])
        self.assertEqual(anna.take(31), list(range(31)))

    def test_an_event_that_is_refused_holds_up_no_other(self):
        daemon = Daemon(self)
        heard = []
        push = self.publisher(daemon.url, on_error=lambda error, count, retrying: heard.append((str(error), count, retrying)))
        anna = Stream(self, daemon, "userId=anna&sessionId=s1&conversationId=42")
        push.send_to_user("anna", "n", 1)
        refused = push.publish(user="anna", event="", data=2)
        push.send_to_user("anna", "n", 3)
        self.assertEqual(anna.take(2), [1, 3])
        self.assertEqual(refused.wait(5).status, "failed")
        error = refused.error
        self.assertEqual((error.kind, error.status, error.problem["field"]), ("refused", 400, "event"))
        self.assertEqual(heard, [("POST /publish: 400 `event` is empty", 1, False)])
        with self.assertRaises(SidestreamError):
            refused.result(5)

    def test_a_wrong_key_fails_at_once_and_a_key_may_be_asked_for_at_each_request(self):
        daemon = Daemon(self)
        keys = iter(["wrong", KEY])
        push = self.publisher(daemon.url, key=lambda: next(keys))
        self.assertEqual(push.send_to_all("n", 1).wait(5).error.status, 401)
        self.assertTrue(push.send_to_all("n", 2).wait(5).ok)

    def test_topics_presence_the_log_and_revocations(self):
        daemon = Daemon(self)
        push = self.publisher(daemon.url)
        anna = Stream(self, daemon, "userId=anna&sessionId=s1&conversationId=42")
        position = push.query.position()
        self.assertEqual(push.set_topics(["a", "b"], user="anna").result(5)["topics"], ["a", "b"])
        self.assertEqual(push.change_topics(add=["c"], remove=["a"], user="anna").result(5)["topics"], ["b", "c"])
        self.assertEqual(push.query.given_topics(user="anna"), ["b", "c"])
        self.assertEqual(push.give_topics(["d"], client=anna.client).result(5)["streams"], 1)
        push.send_to_topic("d", "n", {"text": "ä"}).result(5)
        self.assertEqual(anna.take(1), [{"text": "ä"}])
        events = push.query.events("d", since=position)["events"]
        self.assertEqual([event["data"] for event in events], ['{"text":"ä"}'])
        self.assertEqual(push.retract("d", events[0]["id"]).result(5)["retracted"], 1)
        self.assertEqual(anna.next()["data"]["id"], events[0]["id"])
        self.assertEqual(push.retract("d").result(5)["retracted"], 0)
        self.assertEqual(anna.next()["data"], {"topic": "d"})
        self.assertTrue(push.close_topic("d").result(5)["changed"])
        self.assertEqual(anna.next()["data"], {"topic": "d"})
        self.assertTrue(push.open_topic("d").result(5)["changed"])
        self.assertEqual(push.poll_now("/status?of=anna").result(5), {"asked": 0})
        self.assertRaises(SidestreamError, push.poll_now("/elsewhere").result, 5)
        self.assertRaises(SidestreamError, push.poll_now("status").result, 5)

        eventually("anna is online", lambda: push.is_online("anna"))
        self.assertEqual(push.query.users(["anna", "ben"]), {"anna": True, "ben": False})
        self.assertEqual(push.query.user("anna")["streams"], 1)
        self.assertEqual(push.query.topic("conversation:42")["users"], ["anna"])
        self.assertEqual(push.query.connection(anna.client)["user"], "anna")
        self.assertIsNone(push.query.connection("nobody"))

        self.assertEqual(push.revoke(user="anna", for_="1m").result(5)["ended"], 1)
        self.assertEqual(anna.next()["data"]["reason"], "revoked")

    def test_names_may_be_uuids(self):
        daemon = Daemon(self)
        push = self.publisher(daemon.url)
        name = uuid.uuid4()
        anna = Stream(self, daemon, "userId=%s&sessionId=s1&conversationId=42" % name)
        push.send_to_user(name, "n", {"id": name}).result(5)
        self.assertEqual(anna.take(1), [{"id": str(name)}])
        self.assertTrue(push.has_connection(name))

    def test_its_webhooks_are_known_by_their_signature(self):
        secret = "please-make-one-with-openssl-rand-hex-32"
        came = []

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                came.append((self.headers["sidestream-signature"], body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        hook = """
[[webhook]]
name   = "app"
url    = "http://127.0.0.1:%d/"
secret = "%s"
events = ["connected"]
""" % (server.server_address[1], secret)
        daemon = Daemon(self, ROUTE + hook)
        Stream(self, daemon, "userId=anna&sessionId=s1&conversationId=42")
        eventually("a webhook", lambda: came)
        header, body = came[0]
        self.assertTrue(verify_webhook(secret, header, body))
        self.assertTrue(verify_webhook(secret, header, body.decode()))
        for wrong in [("another", header, body), ("", header, body), (secret, header, body + b" "), (secret, None, body),
                      (secret, "t=,v1", body), (secret, "t=²,v1=x", body), (secret, header.replace("t=", "t=1"), body),
                      (secret, header + "é", body)]:
            self.assertFalse(verify_webhook(*wrong), wrong)


if __name__ == "__main__":
    unittest.main()
