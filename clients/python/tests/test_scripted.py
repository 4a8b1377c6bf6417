"""The publisher against servers that are slow, refuse, or are not there."""

import json
import logging
import socket
import threading
import time
import unittest
import unittest.mock

from .harness import Case, Scripted, eventually, nowhere, receipts
from sidestream import Publisher, SidestreamError


def sent(requests):
    return [event["data"] for request in requests for event in request["body"]]


class Servers(Case):
    def publisher(self, url, **options):
        return super().publisher(url, **{"min_backoff": 0.005, "max_backoff": 0.02, **options})

    def test_what_was_said_was_said_and_keys_are_never_the_same(self):
        server = Scripted(self, receipts)
        push = self.publisher(server.url, key="k")
        data = {"n": 1}
        calls = [push.send_to_user("u", "n", data)]
        data["n"] = 2
        calls += [push.send_to_user("u", "n", data, ttl=5), push.publish(topic="t", data=data, idempotency_key="mine")]
        self.assertTrue(all(call.wait(5).ok for call in calls))
        events = [event for request in server.requests for event in request["body"]]
        self.assertEqual([event["data"]["n"] for event in events], [1, 2, 2])
        self.assertEqual((events[1]["ttl"], events[2]["idempotency_key"]), (5, "mine"))
        self.assertEqual(len({event["idempotency_key"] for event in events}), 3)
        request = server.requests[0]
        self.assertEqual((request["method"], request["path"]), ("POST", "/publish?partial=true"))
        self.assertEqual(request["headers"]["Authorization"], "Bearer k")

    def test_calls_that_wait_go_out_together_over_one_connection(self):
        server = Scripted(self, lambda request, count: time.sleep(0.02) or receipts(request))
        push = self.publisher(server.url)
        for n in range(200):
            push.send_to_all("n", n)
        self.assertTrue(push.flush())
        self.assertEqual(sent(server.requests), list(range(200)))
        self.assertLess(len(server.requests), 20)
        self.assertEqual(len(server.ports), 1)

    def test_503_and_429_are_tried_again_when_they_say_under_the_same_keys(self):
        def answer(request, count):
            if count == 1:
                return 503, {"error": "Redis does not answer", "published": "unknown"}, {"Retry-After": "1"}
            if count == 2:
                return 429, {"error": "too many"}
            return receipts(request)

        server = Scripted(self, answer)
        heard = []
        push = self.publisher(server.url, on_error=lambda error, _, retrying: heard.append((error.status, error.unknown, retrying)))
        push.publish(topic="t").result(10)
        self.assertEqual(heard, [(503, True, True), (429, True, True)])
        self.assertGreaterEqual(server.requests[1]["at"] - server.requests[0]["at"], 1)
        self.assertEqual(len({request["body"][0]["idempotency_key"] for request in server.requests}), 1)
        self.assertEqual(push.counters().retries, 2)

    def test_an_event_that_could_not_be_taken_just_then_is_tried_again_alone(self):
        def answer(request, count):
            status, body = receipts(request)
            if len(request["body"]) == 3:
                body["events"][1] = {"status": 503, "error": "item 1 (counted from 0): not now", "published": "nothing"}
            return status, body

        hold = threading.Event()
        server = Scripted(self, lambda request, count: (count == 1 and hold.wait(5), answer(request, count))[1])
        push = self.publisher(server.url)
        push.send_to_all("n", "first")
        eventually("it is on its way", lambda: server.requests)
        for n in range(3):
            push.send_to_all("n", n)
        hold.set()
        self.assertTrue(push.flush())
        batches = [[event["data"] for event in request["body"]] for request in server.requests]
        self.assertEqual(batches, [["first"], [0, 1, 2], [1]])
        self.assertEqual(push.counters().done, 4)

    def test_a_daemon_that_takes_less_at_once_gets_less(self):
        def answer(request, count):
            return (413, {"error": "too many"}) if len(request["body"]) > 2 else receipts(request)

        server = Scripted(self, answer)
        push = self.publisher(server.url)
        for n in range(20):
            push.send_to_all("n", n)
        self.assertTrue(push.flush())
        self.assertEqual(sent(request for request in server.requests if len(request["body"]) <= 2), list(range(20)))
        self.assertEqual(push.counters().failed, 0)

    def test_a_full_queue_drops_what_comes_counts_it_and_stays_in_order(self):
        heard = []
        push = self.publisher(nowhere(), max_queue=3, on_error=lambda error, *_: heard.append(error.kind))
        statuses = [push.send_to_all("n", n).status for n in range(5)]
        self.assertEqual(statuses, ["queued", "queued", "queued", "dropped", "dropped"])
        counters = push.counters()
        self.assertEqual((counters.queued, counters.dropped, counters.done), (3, 2, 0))
        self.assertEqual(heard.count("dropped"), 2)
        self.assertEqual(self.publisher(nowhere(), max_queue_bytes=1000).send_to_all("n", "x" * 1000).status, "dropped")

    def test_what_cannot_be_sent_for_too_long_fails(self):
        push = self.publisher(nowhere(), give_up_after=0.1)
        with self.assertRaises(SidestreamError) as raised:
            push.publish(topic="t").result()
        self.assertEqual((raised.exception.kind, raised.exception.unknown), ("given_up", False))
        counters = push.counters()
        self.assertEqual((counters.queued, counters.failed, counters.reachable), (0, 1, False))

    def test_close_gives_up_what_is_left_at_its_deadline_and_takes_nothing_more(self):
        server = Scripted(self, lambda *_: None)  # never answers
        push = self.publisher(server.url)
        call = push.publish(topic="t")
        began = time.monotonic()
        self.assertFalse(push.close(0.1))
        self.assertLess(time.monotonic() - began, 1)
        self.assertEqual((call.status, call.error.kind), ("dropped", "closed"))
        self.assertEqual(push.send_to_all("n", 1).error.kind, "closed")
        self.assertTrue(push.close())

    def test_flush_ends_a_pause(self):
        is_up = []
        server = Scripted(
            self, lambda request, _: receipts(request) if is_up else (503, {"error": "not yet", "published": "nothing"})
        )
        push = self.publisher(server.url, min_backoff=60, max_backoff=60)
        push.send_to_all("n", 1)
        eventually("it was refused", lambda: push.counters().retries == 1)
        is_up.append(True)
        self.assertTrue(push.flush(2))

    def test_nothing_that_a_caller_passes_makes_a_call_raise(self):
        server = Scripted(self, receipts)
        push = self.publisher(server.url)
        circle = {}
        circle["self"] = circle

        class Rude:
            def __str__(self):
                raise RuntimeError("no")

        calls = [
            push.send_to_user(None, "n", 1), push.send_to_user("", "n", 1), push.send_to_user(True, "n", 1),
            push.send_to_user(Rude(), "n", 1), push.send_to_user("u", "n", circle), push.send_to_user("u", "n", object()),
            push.send_to_user("u", "n", float("nan")), push.send_to_user("u", "n", {(1, 2): 3}),
            push.send_to_users(None, "n", 1), push.send_to_users("u1", "n", 1), push.send_to_users(["u", None], "n", 1),
            push.broadcast_to_conversation(None, "n", 1), push.disconnect_client(None), push.give_topics(["t"]),
            push.give_topics(None, user="u"), push.give_topics(["t"], user="u", session="s"),
        ]
        for at, call in enumerate(calls):
            self.assertEqual((at, call.status, call.error and call.error.kind), (at, "failed", "invalid"))
        self.assertFalse(push.has_connection(None))
        self.assertEqual(server.requests, [])
        self.assertTrue(push.send_to_user("u", "n").wait(5).ok)
        self.assertTrue(push.send_to_user("u", None, "unnamed").wait(5).ok)
        self.assertTrue(push.send_to_user(7, "n", "\ud800").wait(5).ok)
        self.assertEqual(sent(server.requests), [None, "unnamed", "\ud800"])

    def test_data_that_is_no_json_is_made_json_by_the_caller(self):
        server = Scripted(self, receipts)
        push = self.publisher(server.url, json_default=lambda value: sorted(value))
        push.send_to_all("n", {"set": {3, 1, 2}}).result(5)
        self.assertEqual(sent(server.requests), [{"set": [1, 2, 3]}])

    def test_a_hook_that_raises_ends_nothing(self):
        server = Scripted(self, lambda request, count: (400, {"error": "no"}) if count == 1 else receipts(request))

        def raises(*_):
            raise RuntimeError("in the hook")

        push = self.publisher(server.url, on_error=raises, on_up=raises, on_down=raises)
        with self.assertLogs("sidestream", logging.ERROR) as logs:
            self.assertEqual(push.send_to_all("n", 1).wait(5).status, "failed")
        self.assertEqual(len(logs.records), 1)
        self.assertTrue(push.send_to_all("n", 2).wait(5).ok)

    def test_without_a_hook_one_line_in_ten_seconds_says_what_fails(self):
        push = Publisher(nowhere(), "k", min_backoff=0.001, max_backoff=0.005, give_up_after=0.05)
        self.addCleanup(push.close, 0)
        with self.assertLogs("sidestream", logging.WARNING) as logs:
            for n in range(100):
                push.send_to_all("n", n)
            push.flush()
        self.assertEqual(len(logs.output), 1)
        self.assertRegex(logs.output[0], r"POST /publish: .*refused; trying again$")

    def test_questions_without_an_answer_are_false_or_0_or_nobody_within_their_time_and_say_why(self):
        server = Scripted(self, lambda *_: None)  # never answers
        heard = []
        push = self.publisher(server.url, query_timeout=0.1, on_error=lambda error, *_: heard.append(error.kind))
        began = time.monotonic()
        self.assertIs(push.has_connection("u"), False)
        self.assertIs(push.is_online("u"), False)
        self.assertEqual(push.get_connection_count(), 0)
        self.assertEqual(push.get_active_connections(), [])
        self.assertEqual(push.get_stats()["total"], 0)
        self.assertLess(time.monotonic() - began, 1)
        self.assertEqual(heard, ["unreachable"] * 5)
        with self.assertRaises(SidestreamError):
            push.query.count()

    def test_an_answer_of_another_shape_is_no_answer(self):
        server = Scripted(self, lambda *_: (200, {"connections": None}))
        heard = []
        push = self.publisher(server.url, on_error=lambda error, *_: heard.append(error.kind))
        self.assertEqual((push.has_connection("u"), push.get_active_connections()), (False, []))
        self.assertEqual(push.send_to_all("n").wait(5).error.kind, "bad_answer")
        self.assertEqual(heard, ["bad_answer"] * 3)
        odd = Scripted(self, lambda *_: (200, {"events": [None]}))
        self.assertEqual(self.publisher(odd.url).send_to_all("n").wait(5).error.kind, "bad_answer")
        html = Scripted(self, lambda *_: (200, b"<html>Welcome</html>"))
        self.assertEqual(self.publisher(html.url).send_to_all("n").wait(5).error.kind, "bad_answer")

    def test_three_pages_of_connections_are_one_list(self):
        pages = {"": (["a", "b"], "2"), "2": (["c"], "3"), "3": (["d"], None)}

        def answer(request, _):
            clients, following = pages[request["path"].partition("cursor=")[2]]
            return 200, {"connections": [{"client": client} for client in clients], "next": following}

        server = Scripted(self, answer)
        listed = self.publisher(server.url).get_active_connections(user="a b")
        self.assertEqual([one["client"] for one in listed], ["a", "b", "c", "d"])
        self.assertEqual(server.requests[0]["path"], "/connections?limit=1000&user=a%20b")

    def test_an_answer_without_end_or_a_byte_at_a_time_is_over_at_the_time_out(self):
        for head in [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "]:
            listener = socket.create_server(("127.0.0.1", 0))
            self.addCleanup(listener.close)

            def drip(listener=listener, head=head):
                while True:
                    try:
                        client, _ = listener.accept()
                        with client:
                            client.sendall(head)
                            for _ in range(100):
                                client.sendall(b"x")
                                time.sleep(0.02)
                    except OSError:
                        if listener.fileno() < 0:
                            return

            threading.Thread(target=drip, daemon=True).start()
            url = "http://127.0.0.1:%d" % listener.getsockname()[1]
            push = self.publisher(url, timeout=0.1, give_up_after=0.15)
            began = time.monotonic()
            error = push.publish(topic="t").wait(5).error
            self.assertEqual((error.kind, error.unknown), ("given_up", True))
            self.assertLess(time.monotonic() - began, 1)

    def test_a_connection_that_was_closed_meanwhile_costs_nothing(self):
        def answer(request, count):
            return (*receipts(request), {"Connection": "close"}) if count == 3 else receipts(request)

        server = Scripted(self, answer)
        push = self.publisher(server.url)
        for n in range(6):
            self.assertTrue(push.send_to_all("n", n).wait(5).ok)
        # The kept connection is gone without a word, as after the daemon's own time-out.
        push._client._kept[0].line._sock.shutdown(socket.SHUT_RDWR)
        self.assertTrue(push.send_to_all("n", 6).wait(5).ok)
        self.assertEqual(push.counters().retries, 0)
        self.assertEqual(len(server.ports), 3)

    def test_where_no_thread_can_be_started_flush_sends_and_its_deadline_holds(self):
        server = Scripted(self, receipts)
        start = threading.Thread.start

        def refuse(thread):
            if thread.name == "sidestream":
                raise RuntimeError("can't start new thread")
            start(thread)

        for url, flushed in [(server.url, True), (nowhere(), False), (Scripted(self, lambda *_: None).url, False)]:
            push = self.publisher(url, timeout=5)
            with unittest.mock.patch.object(threading.Thread, "start", refuse):
                for n in range(3):
                    push.send_to_all("n", n)
                began = time.monotonic()
                self.assertIs(push.flush(0.3), flushed)
                self.assertLess(time.monotonic() - began, 1)
        self.assertEqual(sent(server.requests), [0, 1, 2])

    def test_an_address_that_is_none_is_said_at_once(self):
        for url in ["localhost:8081", "nonsense", "ftp://x", "http://"]:
            with self.assertRaises(ValueError):
                Publisher(url)

    def test_a_batch_that_is_refused_whole_costs_only_the_bad_ones(self):
        def answer(request, count):
            bad = any(event["data"] == 1 for event in request["body"])
            return (400, {"error": "cannot be read"}) if bad else receipts(request)

        hold = threading.Event()
        server = Scripted(self, lambda request, count: (count == 1 and hold.wait(5), answer(request, count))[1])
        push = self.publisher(server.url)
        push.send_to_all("n", "first")
        eventually("it is on its way", lambda: server.requests)
        calls = [push.send_to_all("n", n) for n in range(3)]
        hold.set()
        push.flush()
        self.assertEqual([call.status for call in calls], ["done", "failed", "done"])
        self.assertEqual(json.dumps(calls[0].value), '{"id": "1-0", "matched": 0}')


if __name__ == "__main__":
    unittest.main()
