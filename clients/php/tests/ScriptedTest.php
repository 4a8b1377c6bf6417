<?php

declare(strict_types=1);

namespace Sidestream\Tests;

use PHPUnit\Framework\TestCase;
use Sidestream\Outcome;
use Sidestream\Publisher;
use Sidestream\SidestreamException;

/** The publisher against servers that are slow, refuse, or are not there. */
final class ScriptedTest extends TestCase
{
    use Harness;

    /** @dataProvider transports */
    public function testWhatIsSentAndThatKeysAreNeverTheSame(bool $curl): void
    {
        $server = new Scripted(Scripted::TAKES_ALL);
        $push = self::publisher($server->url, curl: $curl, key: 'k');
        $push->sendToUser('u', 'n', ['n' => 1], ['ttl' => 5]);
        $push->publish(['topic' => 't', 'data' => 2.0, 'idempotency_key' => 'mine']);
        self::assertTrue($push->sendToUser(7, 'n', "caf\xe9")->ok);
        $requests = $server->requests();
        self::assertSame(['POST', '/publish?partial=true'], [$requests[0]['method'], $requests[0]['path']]);
        self::assertStringContainsString("\r\nAuthorization: Bearer k\r\n", $requests[0]['head']);
        [$first, $second, $third] = array_merge(...array_column($requests, 'body'));
        self::assertSame(['u', 'n', ['n' => 1], 5], [$first['user'], $first['event'], $first['data'], $first['ttl']]);
        self::assertSame('mine', $second['idempotency_key']);
        self::assertStringContainsString('"data":2.0', $requests[1]['raw']);
        self::assertSame([7, "caf\u{fffd}"], [$third['user'], $third['data']]);
        self::assertNotSame($first['idempotency_key'], $third['idempotency_key']);
        self::assertCount($curl ? 1 : 3, array_unique(array_column($requests, 'from')));
    }

    public function testDeferredCallsGoOutTogether(): void
    {
        $server = new Scripted(Scripted::TAKES_ALL);
        $push = self::publisher($server->url, defer: true);
        $data = new \stdClass();
        for ($data->n = 0; $data->n < 200; $data->n++) {
            $push->sendToAll('n', $data); // What was said was said.
        }
        self::assertSame([], $server->requests());
        self::assertTrue($push->flush());
        self::assertSame(range(0, 199), array_column($server->sent(), 'n'));
        self::assertCount(1, $server->requests());
    }

    public function test503And429AreTriedAgainWhenTheySayUnderTheSameKeys(): void
    {
        $server = new Scripted(<<<'PHP'
            if ($count === 1) {
                return [503, ['error' => 'Redis does not answer', 'published' => 'unknown'], ['Retry-After' => '1']];
            }
            if ($count === 2) {
                return [429, ['error' => 'too many']];
            }
            PHP . Scripted::TAKES_ALL);
        $heard = [];
        $push = self::publisher($server->url, onError: function ($error, $_, $isRetrying) use (&$heard): void {
            $heard[] = [$error->status, $error->unknown, $isRetrying];
        });
        $outcome = $push->publish(['topic' => 't']);
        self::assertSame(Outcome::QUEUED, $outcome->status);
        self::assertSame(Outcome::QUEUED, $push->publish(['topic' => 't'])->status);
        usleep(1_100_000);
        self::assertSame(Outcome::QUEUED, $push->publish(['topic' => 't'])->status);
        self::assertTrue($push->flush());
        self::assertTrue($outcome->ok);
        self::assertSame([[503, true, true], [429, true, true]], $heard);
        $requests = $server->requests();
        self::assertGreaterThanOrEqual(1, $requests[1]['at'] - $requests[0]['at']);
        self::assertCount(3, $requests);
        self::assertSame($requests[0]['body'][0], $requests[2]['body'][0]);
        self::assertSame(2, $push->counters()['retries']);
    }

    /** @dataProvider transports */
    public function testAnAnswerThatIsCutIsTriedAgainUnderTheSameKey(bool $curl): void
    {
        $server = new Scripted('if ($count === 1) { return [200, "{", ["Content-Length" => 100, "Connection" => "close"]]; }'
            . Scripted::TAKES_ALL);
        $push = self::publisher($server->url, curl: $curl);
        self::assertTrue($push->publish(['topic' => 't'])->ok);
        [$first, $second] = $server->requests();
        self::assertSame($first['body'], $second['body']);
    }

    public function testAnEventThatCouldNotBeTakenJustThenIsTriedAgainAlone(): void
    {
        $server = new Scripted(<<<'PHP'
            $taken = array_fill(0, count($request['body']), ['id' => '1-1', 'matched' => 0]);
            if ($count === 1) {
                $taken[1] = ['status' => 503, 'error' => 'item 1 (counted from 0): not now', 'published' => 'nothing'];
            }
            return [200, ['events' => $taken, 'refused' => 1]];
            PHP);
        $push = self::publisher($server->url, defer: true);
        array_map(static fn ($n) => $push->sendToAll('n', $n), range(0, 2));
        self::assertTrue($push->flush());
        $batches = array_map(static fn ($request) => array_column($request['body'], 'data'), $server->requests());
        self::assertSame([[0, 1, 2], [1]], $batches);
        self::assertSame(3, $push->counters()['done']);
    }

    public function testADaemonThatTakesLessAtOnceGetsLess(): void
    {
        $server = new Scripted('if (count($request["body"]) > 2) { return [413, ["error" => "too many"]]; }' . Scripted::TAKES_ALL);
        $push = self::publisher($server->url, defer: true);
        array_map(static fn ($n) => $push->sendToAll('n', $n), range(0, 8));
        self::assertTrue($push->flush());
        $taken = array_filter($server->requests(), static fn ($request) => count($request['body']) <= 2);
        self::assertSame(range(0, 8), array_column(array_merge(...array_column($taken, 'body')), 'data'));
        self::assertSame(0, $push->counters()['failed']);
    }

    public function testABatchThatIsRefusedWholeCostsOnlyTheBadOnes(): void
    {
        $server = new Scripted('if (in_array(1, array_column($request["body"], "data"), true)) { return [400, ["error" => "no"]]; }'
            . Scripted::TAKES_ALL);
        $push = self::publisher($server->url, defer: true);
        $outcomes = array_map(static fn ($n) => $push->sendToAll('n', $n), range(0, 3));
        self::assertTrue($push->flush());
        self::assertSame(['done', 'failed', 'done', 'done'], array_column($outcomes, 'status'));
    }

    public function testAFullQueueDropsWhatComesCountsItAndStaysInOrder(): void
    {
        $heard = [];
        $onError = function ($error) use (&$heard): void {
            $heard[] = $error->kind;
        };
        $push = self::publisher(self::nowhere(), maxQueue: 3, onError: $onError);
        $outcomes = array_map(static fn ($n) => $push->sendToAll('n', $n), range(0, 4));
        self::assertSame(['queued', 'queued', 'queued', 'dropped', 'dropped'], array_column($outcomes, 'status'));
        ['queued' => $queued, 'dropped' => $dropped, 'done' => $done] = $push->counters();
        self::assertSame([3, 2, 0], [$queued, $dropped, $done]);
        self::assertCount(2, array_keys($heard, 'dropped', true));
        $push->close(0);
        $push = self::publisher(self::nowhere(), maxQueueBytes: 1000);
        self::assertSame('dropped', $push->sendToAll('n', str_repeat('x', 1000))->status);
    }

    public function testWhatCannotBeSentForTooLongFails(): void
    {
        $push = self::publisher(self::nowhere(), giveUpAfter: 0.1);
        $outcome = $push->publish(['topic' => 't']);
        self::assertTrue($push->flush());
        self::assertSame(['failed', 'given_up', false], [$outcome->status, $outcome->error->kind, $outcome->error->unknown]);
        self::assertSame([0, 1, false], [
            $push->counters()['queued'], $push->counters()['failed'], $push->counters()['reachable']]);
    }

    /** @dataProvider transports */
    public function testADaemonThatHangsIsOverAtTheTimeOut(bool $curl): void
    {
        $hangs = new Scripted('return null;');
        $push = self::publisher($hangs->url, timeout: 0.1, queryTimeout: 0.1, curl: $curl);
        $from = microtime(true);
        $outcome = $push->publish(['topic' => 't']);
        self::assertSame('queued', $outcome->status);
        self::assertFalse($push->hasConnection('u'));
        self::assertFalse($push->isOnline('u'));
        self::assertSame(0, $push->getConnectionCount());
        self::assertSame([], $push->getActiveConnections());
        self::assertSame(0, $push->getStats()['total']);
        self::assertLessThan(0.5, microtime(true) - $from);
        self::assertFalse($push->close(0.3));
        self::assertLessThan(1, microtime(true) - $from);
        self::assertSame(['dropped', 'closed', true], [$outcome->status, $outcome->error->kind, $outcome->error->unknown]);
        $this->expectException(SidestreamException::class);
        $push->query()->count();
    }

    /** @dataProvider transports */
    public function testAnAnswerThatComesAByteAtATimeIsOverAtTheTimeOut(bool $curl): void
    {
        $drips = new Process([PHP_BINARY, '-r', <<<'PHP'
            $server = stream_socket_server('tcp://127.0.0.1:0');
            echo stream_socket_get_name($server, false), "\n";
            while ($client = stream_socket_accept($server, 60)) {
                fwrite($client, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
                for ($n = 0; $n < 100 && @fwrite($client, 'x') === 1; $n++) {
                    usleep(20000);
                }
            }
            PHP]);
        $push = self::publisher('http://' . trim($drips->line(1)), timeout: 0.1, curl: $curl);
        $from = microtime(true);
        self::assertSame('queued', $push->publish(['topic' => 't'])->status);
        self::assertLessThan(0.5, microtime(true) - $from);
        $push->close(0);
    }

    /** @dataProvider transports */
    public function testAnAnswerOfSomethingElseIsNotTakenForSuccess(bool $curl): void
    {
        $server = new Scripted(<<<'PHP'
            return match ($count) {
                1 => [200, '<html>Welcome</html>'],
                2 => [200, ['events' => []]],
                3 => [302, '', ['Location' => '/login']],
                4 => [200, ['events' => ['no']]],
                5 => [200, ['connections' => null]],
            };
            PHP);
        $push = self::publisher($server->url, curl: $curl);
        self::assertSame('bad_answer', $push->sendToAll('n', 1)->error->kind);
        self::assertSame('bad_answer', $push->sendToAll('n', 2)->error->kind);
        $error = $push->sendToAll('n', 3)->error;
        self::assertSame(['refused', 302], [$error->kind, $error->status]);
        self::assertSame('bad_answer', $push->sendToAll('n', 4)->error->kind);
        self::assertSame([], $push->getActiveConnections());
    }

    public function testThreePagesOfConnectionsAreOneList(): void
    {
        $server = new Scripted(<<<'PHP'
            parse_str(parse_url($request['path'], PHP_URL_QUERY), $query);
            [$clients, $next] = ['' => [['a', 'b'], '2'], '2' => [['c'], '3'], '3' => [['d'], null]][$query['cursor'] ?? ''];
            return [200, ['connections' => array_map(fn ($client) => ['client' => $client], $clients), 'next' => $next]];
            PHP);
        $listed = self::publisher($server->url)->getActiveConnections(['user' => 'a b']);
        self::assertSame(['a', 'b', 'c', 'd'], array_column($listed, 'client'));
        self::assertSame('/connections?user=a%20b&limit=1000', $server->requests()[0]['path']);
    }

    public function testNothingThatACallerPassesMakesACallThrow(): void
    {
        $server = new Scripted(Scripted::TAKES_ALL);
        $push = self::publisher($server->url);
        $circle = new \stdClass();
        $circle->self = $circle;
        $rude = new class implements \JsonSerializable {
            public function jsonSerialize(): mixed
            {
                throw new \LogicException('no');
            }
        };
        $outcomes = [
            $push->sendToUser(null, 'n', 1), $push->sendToUser('', 'n', 1), $push->sendToUser([], 'n', 1),
            $push->sendToUser(true, 'n', 1), $push->sendToUser('u', 'n', $circle), $push->sendToUser('u', 'n', NAN),
            $push->sendToUser('u', 'n', $rude), $push->sendToUsers(null, 'n', 1), $push->sendToUsers('u1', 'n', 1),
            $push->sendToUsers(['u', null], 'n', 1), $push->broadcastToConversation(null, 'n', 1),
            $push->disconnectClient(null), $push->giveTopics([], ['t']), $push->giveTopics(['tenant' => 't'], ['t']),
            $push->giveTopics(['user' => 'u'], [null]),
        ];
        foreach ($outcomes as $at => $outcome) {
            self::assertSame([$at, 'failed', 'invalid'], [$at, $outcome->status, $outcome->error?->kind]);
        }
        self::assertFalse($push->hasConnection(null));
        self::assertSame([], $server->requests());
        self::assertTrue($push->sendToUser('u', null, 'unnamed')->ok);
        self::assertTrue($push->sendToUsers((fn () => yield from ['u', 7])(), 'n', 1)->ok);
    }

    public function testAHandlerThatThrowsOrPublishesEndsNothing(): void
    {
        $server = new Scripted('if ($count === 1) { return [400, ["error" => "no"]]; }' . Scripted::TAKES_ALL);
        $push = null;
        $push = self::publisher($server->url, onError: function () use (&$push): void {
            $push->sendToAll('n', 'from the handler');
            throw new \LogicException('in the handler');
        });
        $log = ini_set('error_log', '/dev/null');
        self::assertSame('failed', $push->sendToAll('n', 1)->status);
        self::assertTrue($push->sendToAll('n', 2)->ok);
        ini_set('error_log', (string) $log);
        self::assertSame([1, 'from the handler', 2], $server->sent());
    }

    public function testWithoutAHandlerOneLineInTenSecondsSaysWhatFails(): void
    {
        $file = (string) tempnam(sys_get_temp_dir(), 'sidestream-');
        $log = ini_set('error_log', $file);
        $push = new Publisher(self::nowhere(), 'k', giveUpAfter: 0.05);
        array_map(static fn ($n) => $push->sendToAll('n', $n), range(0, 99));
        $push->flush();
        ini_set('error_log', (string) $log);
        $lines = file($file) ?: [];
        unlink($file);
        self::assertCount(1, $lines);
        self::assertMatchesRegularExpression('~sidestream: POST /publish: .*; trying again$~', $lines[0]);
    }

    public function testThrowsThrowsWhatFails(): void
    {
        $server = new Scripted('return [400, ["error" => "`event` is empty", "field" => "event"]];');
        $push = self::publisher($server->url, throws: true);
        foreach ([fn () => $push->sendToAll('', 1), fn () => $push->sendToUser(null, 'n')] as $at => $call) {
            try {
                $call();
                self::fail('it has to throw');
            } catch (SidestreamException $error) {
                self::assertSame(['refused', 'invalid'][$at], $error->kind);
            }
        }
    }

    public function testAnAddressThatIsNoneIsSaidAtOnce(): void
    {
        foreach (['localhost:8081', 'nonsense', 'ftp://x', 'http://', 'http:///x'] as $url) {
            try {
                new Publisher($url, 'k');
                self::fail("$url is taken");
            } catch (\InvalidArgumentException $error) {
                self::assertStringContainsString('the address must be', $error->getMessage());
            }
        }
    }
}
