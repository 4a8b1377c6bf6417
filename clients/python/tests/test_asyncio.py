"""The publisher for asyncio."""

import asyncio
import gc
import time
import unittest
import warnings

from .harness import KEY, Case, Daemon, Scripted, Stream, nowhere, receipts
from sidestream import AsyncPublisher, SidestreamError


class Asyncio(Case):
    def push(self, url, **options):
        return AsyncPublisher(url, **{"key": KEY, "min_backoff": 0.02, "max_backoff": 0.1, "on_error": lambda *_: None, **options})

    def test_the_calls_of_a_service_that_it_replaces(self):
        daemon = Daemon(self)
        anna = Stream(self, daemon, "userId=anna&sessionId=s1&conversationId=42")
        ben = Stream(self, daemon, "userId=ben&sessionId=s2&conversationId=42")

        async def main():
            async with self.push(daemon.url) as push:
                call = await push.send_to_user("anna", "n", 1)
                self.assertEqual((call.status, call.value["matched"]), ("done", 1))
                push.send_to_users(["anna", "ben"], "n", 2)
                await push.broadcast_to_conversation(42, "n", 3, "ben")
                self.assertTrue(await push.has_connection("anna"))
                self.assertFalse(await push.has_connection("nobody"))
                self.assertFalse(await push.is_online("nobody"))
                self.assertEqual(await push.get_connection_count(), 2)
                clients = sorted(one["client"] for one in await push.get_active_connections())
                self.assertEqual(clients, sorted([anna.client, ben.client]))
                self.assertEqual(sorted([one["client"] async for one in push.query.connections(limit=1)]), clients)
                self.assertEqual((await push.get_stats())["total"], 2)
                self.assertTrue(await push.query.position())
                self.assertEqual((await push.query.count(user="anna"))["total"], 1)
                push.give_topics(["a"], user="anna")
                await push.send_to_topic("a", "n", 4)
                self.assertEqual(await push.query.given_topics(user="anna"), ["a"])
                self.assertTrue(await push.flush())
                self.assertEqual(anna.take(4), [1, 2, 3, 4])
                await push.disconnect_client(anna.client)

        asyncio.run(main())
        self.assertEqual(anna.next()["event"], "closing")

    def test_calls_that_are_not_awaited_warn_of_nothing_and_stay_in_order(self):
        daemon = Daemon(self)
        anna = Stream(self, daemon, "userId=anna&sessionId=s1&conversationId=42")

        async def main():
            async with self.push(daemon.url) as push:
                for n in range(0, 200, 2):
                    push.send_to_user("anna", "n", n)
                    push.broadcast_to_conversation(42, "n", n + 1)
                    await asyncio.sleep(0)

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            asyncio.run(main())
            gc.collect()
        self.assertEqual(anna.take(200), list(range(200)))

    def test_a_daemon_that_is_away_or_hangs_holds_up_neither_callers_nor_the_loop(self):
        for url in [nowhere(), Scripted(self, lambda *_: None).url]:
            async def main():
                push = self.push(url, patience=0.1, query_timeout=0.1, timeout=0.2)
                ticks = []

                async def tick():
                    while True:
                        ticks.append(time.monotonic())
                        await asyncio.sleep(0.01)

                ticking = asyncio.ensure_future(tick())
                began = time.monotonic()
                for n in range(5):
                    self.assertEqual((await push.send_to_all("n", n)).status, "queued")
                self.assertFalse(await push.has_connection("u"))
                with self.assertRaises(SidestreamError):
                    await push.query.count()
                self.assertFalse(await push.close(0.2))
                self.assertLess(time.monotonic() - began, 2)
                ticking.cancel()
                gaps = [after - before for before, after in zip(ticks, ticks[1:])]
                self.assertLess(max(gaps), 0.15)

            asyncio.run(main())

    def test_a_caller_that_is_cancelled_leaves_the_call(self):
        server = Scripted(self, lambda request, _: time.sleep(0.1) or receipts(request))

        async def main():
            async with self.push(server.url) as push:
                async def caller():
                    await push.send_to_all("n", 1)

                task = asyncio.ensure_future(caller())
                await asyncio.sleep(0.02)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task

        asyncio.run(main())
        self.assertEqual(len(server.requests), 1)

    def test_a_loop_that_ends_before_the_answer_disturbs_nothing(self):
        server = Scripted(self, lambda request, _: time.sleep(0.1) or receipts(request))
        push = self.push(server.url, patience=0.01)

        async def main():
            return await push.send_to_all("n", 1)

        self.assertEqual(asyncio.run(main()).status, "queued")
        self.assertTrue(asyncio.run(push.flush()))
        self.assertTrue(asyncio.run(push.close()))
        self.assertEqual(push.counters().done, 1)


if __name__ == "__main__":
    unittest.main()
