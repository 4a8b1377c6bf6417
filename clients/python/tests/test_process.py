"""What the publisher does to the process that it is used in: whole programs, run as an application would be, and forks."""

import os
import subprocess
import sys
import textwrap
import time
import unittest

from .harness import HERE, Case, Daemon, Scripted, Stream, nowhere, receipts

SOURCE = str(HERE.parents[1] / "src")


def python(program, url):
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": SOURCE, "SIDESTREAM_URL": url, "SIDESTREAM_KEY": "test-key"}
    command = [sys.executable, "-W", "error::ResourceWarning", "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
    return done.returncode, done.stdout.decode(), done.stderr.decode(), time.monotonic() - began


def sent(server):
    return [event["data"] for request in server.requests for event in request["body"]]


class Process(Case):
    def test_a_script_that_ends_sends_what_it_has_called_first(self):
        server = Scripted(self, lambda request, _: time.sleep(0.2) or receipts(request))
        code, _, err, _ = python(
            """
            from sidestream import Publisher
            push = Publisher(max_batch=2)
            for n in range(5):
                push.send_to_all("n", n)
            """,
            server.url,
        )
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(sent(server), [0, 1, 2, 3, 4])

    def test_a_call_of_an_exit_handler_is_sent_too(self):
        server = Scripted(self, receipts)
        code, _, err, _ = python(
            """
            import atexit
            from sidestream import Publisher
            push = Publisher()
            atexit.register(lambda: push.send_to_all("n", "bye"))
            """,
            server.url,
        )
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(sent(server), ["bye"])

    def test_a_script_ends_soon_while_sidestream_is_away_or_hangs_and_says_what_was_not_sent(self):
        for url in [nowhere(), Scripted(self, lambda *_: None).url]:
            code, out, err, took = python(
                """
                from sidestream import Publisher
                def on_error(error, count, retrying):
                    if not retrying: print(count, error.kind, flush=True)
                push = Publisher(exit_deadline=0.3, on_error=on_error)
                for n in range(6):
                    push.send_to_all("n", n)
                """,
                url,
            )
            self.assertEqual((code, out, err), (0, "6 closed\n", ""))
            self.assertLess(took, 3)

    @unittest.skipUnless(hasattr(os, "fork"), "there are no forks here")
    def test_a_fork_has_a_publisher_of_its_own(self):
        daemon = Daemon(self)
        anna = Stream(self, daemon, "userId=anna&sessionId=s1&conversationId=42")
        # As gunicorn with preload: made and used before the workers are, which share nothing but the address.
        code, out, err, _ = python(
            """
            import os, sys
            from sidestream import Publisher
            push = Publisher()
            push.send_to_user("anna", "n", "parent before").result(5)
            queued = push.send_to_user("anna", "n", "parent's own")
            children = []
            for worker in range(3):
                child = os.fork()
                if child == 0:
                    assert push.counters().queued == 0
                    for n in range(20):
                        push.send_to_user("anna", "n", "%d %d" % (worker, n)).result(5)
                    assert push.has_connection("anna")
                    push.send_to_user("anna", "n", "%d at exit" % worker)
                    sys.exit(0)
                children.append(child)
            assert all(os.waitpid(child, 0)[1] == 0 for child in children)
            push.send_to_user("anna", "n", "parent after").result(5)
            """.replace('"parent before"', '["parent before"]').replace('"parent\'s own"', '["parent own"]')
            .replace('"%d %d" % (worker, n)', "[worker, n]").replace('"%d at exit" % worker', '[worker, "exit"]')
            .replace('"parent after"', '["parent after"]'),
            daemon.url,
        )
        self.assertEqual((code, err), (0, ""))
        got = anna.take(3 + 3 * 21)
        self.assertEqual([one for one in got if len(one) == 1], [["parent before"], ["parent own"], ["parent after"]])
        for worker in range(3):
            self.assertEqual([n for by, n in (one for one in got if len(one) == 2) if by == worker], [*range(20), "exit"])

    @unittest.skipUnless(hasattr(os, "fork"), "there are no forks here")
    def test_a_process_of_multiprocessing_sends_what_it_has_called(self):
        server = Scripted(self, receipts)
        for method in ["fork", "spawn"]:
            with self.subTest(method):
                script = os.path.join(Daemon(self).folder, "app.py")
                with open(script, "w") as file:
                    file.write(textwrap.dedent(
                        """
                        import multiprocessing, sys
                        from sidestream import Publisher
                        push = Publisher()
                        def work():
                            for n in range(3):
                                push.send_to_all("n", n)
                        if __name__ == "__main__":
                            child = multiprocessing.get_context(sys.argv[1]).Process(target=work)
                            child.start()
                            child.join()
                            sys.exit(child.exitcode)
                        """
                    ))
                del server.requests[:]
                environment = {**os.environ, "PYTHONPATH": SOURCE, "SIDESTREAM_URL": server.url, "SIDESTREAM_KEY": "k"}
                done = subprocess.run([sys.executable, script, method], env=environment, timeout=20)
                self.assertEqual((done.returncode, sent(server)), (0, [0, 1, 2]))


if __name__ == "__main__":
    unittest.main()
