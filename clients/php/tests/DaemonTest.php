<?php

declare(strict_types=1);

namespace Sidestream\Tests;

use PHPUnit\Framework\TestCase;
use Sidestream\Event;
use Sidestream\Outcome;
use Sidestream\SidestreamException;
use Sidestream\Webhook;

/** The publisher against the real daemon. */
final class DaemonTest extends TestCase
{
    use Harness;

    /** @dataProvider transports */
    public function testEveryCallOfAServiceThatItReplacesDoesWhatItDid(bool $curl): void
    {
        $daemon = new Daemon();
        $push = self::publisher($daemon->url, curl: $curl);
        $anna = $daemon->stream('userId=anna%2F1+%26&sessionId=s1&conversationId=42');
        $ben = $daemon->stream('userId=ben&sessionId=s2&conversationId=42');
        $name = 'anna/1 &';

        $receipt = $push->sendToUser($name, 'direct', ['n' => 1])->orThrow();
        self::assertIsString($receipt['id']);
        self::assertSame(1, $receipt['matched']);
        $push->sendToUsers([$name, 'ben'], 'both', ['n' => 2]);
        $push->broadcastToConversation(42, 'talk', ['n' => 3], $name);
        $push->broadcastToConversation('42', 'talk', ['n' => 4]);
        $push->sendToSession('s1', 'session', ['n' => 5]);
        $push->sendToClient($anna->client, 'client', ['n' => 6]);
        $push->sendToTopic('conversation:42', 'topic', ['n' => 7], ['except' => ['user' => 'ben']]);
        $push->sendToUser($name, Event::notification(['n' => 8]));
        $push->broadcastToConversation(42, Event::typing(['n' => 9]), exceptUser: $name);
        self::assertSame(2, $push->sendToAll('all', ['n' => 10])->orThrow()['matched']);
        self::assertSame(['id' => null, 'matched' => 0], $push->sendToUsers([], 'nobody', 1)->value);

        $names = static function (Stream $stream, int $count): array {
            $events = array_map(static fn () => $stream->next(), range(1, $count));

            return array_map(static fn ($event) => "$event[event] {$event['data']['n']}", $events);
        };
        $expected = ['direct 1', 'both 2', 'talk 4', 'session 5', 'client 6', 'topic 7', 'notification 8', 'all 10'];
        self::assertSame($expected, $names($anna, 8));
        self::assertSame(['both 2', 'talk 3', 'talk 4', 'typing 9', 'all 10'], $names($ben, 5));

        self::assertTrue($push->hasConnection($name));
        self::assertFalse($push->hasConnection('nobody'));
        self::eventually('ben is online', static fn () => $push->isOnline('ben'));
        self::assertFalse($push->isOnline('nobody'));
        self::assertSame(2, $push->getConnectionCount());
        self::assertSame(1, $push->getConnectionCount(['topic' => 'conversation:42', 'user' => 'ben']));
        self::assertEqualsCanonicalizing([$anna->client, $ben->client], array_column($push->getActiveConnections(), 'client'));
        $stats = $push->getStats();
        self::assertSame([2, 1, 10], [$stats['total'], count($stats['instances']), $stats['publisher']['done']]);

        self::assertSame(1, $push->disconnectClient($anna->client)->orThrow()['closed']);
        self::assertSame('closing', $anna->next()['event']);
        self::assertNull($anna->next());
        self::assertSame(0, $push->disconnectClient($anna->client)->orThrow()['closed']);
        self::eventually('one is left', static fn () => $push->getConnectionCount() === 1);
    }

    public function testAllPagesOfTheConnectionsAreRead(): void
    {
        $daemon = new Daemon();
        $push = self::publisher($daemon->url);
        $streams = array_map(static fn ($n) => $daemon->stream("userId=u$n&sessionId=s&conversationId=1"), range(0, 6));
        $listed = array_column([...$push->query()->connections([], 2)], 'client');
        self::assertEqualsCanonicalizing(array_column($streams, 'client'), $listed);
        self::assertCount(7, $push->getActiveConnections());
        self::eventually('all are online', static fn () => $push->query()->presence()['users_total'] === 7);
        self::assertEqualsCanonicalizing(array_map(static fn ($n) => "u$n", range(0, 6)), [...$push->query()->online()]);
    }

    /** @dataProvider modes */
    public function testCallsArriveInTheirOrderWhateverTheirKind(bool $defer): void
    {
        $daemon = new Daemon();
        $push = self::publisher($daemon->url, defer: $defer);
        $anna = $daemon->stream('userId=anna&sessionId=s1&conversationId=42');
        for ($n = 0; $n < 400; $n += 2) {
            $push->sendToUser('anna', 'pair', $n);
            $push->broadcastToConversation(42, 'pair', $n + 1);
        }
        $push->giveTopics(['user' => 'anna'], ['extra']);
        $push->sendToTopic('extra', 'pair', 400);
        $push->takeTopics(['user' => 'anna'], ['extra']);
        $push->sendToTopic('extra', 'pair', 'not hers');
        $last = $push->sendToUser('anna', 'pair', 401);
        self::assertSame($defer ? Outcome::QUEUED : Outcome::DONE, $last->status);
        self::assertTrue($push->flush());
        self::assertSame(Outcome::DONE, $last->status);
        self::assertSame(range(0, 401), $anna->take(402));
        $push->disconnectUser('anna', ['reconnect' => false, 'for' => '1m']);
        $push->sendToUser('anna', 'pair', 402);
        self::assertTrue($push->flush());
        self::assertSame(['reason' => 'sent_away', 'reconnect' => false], $anna->next()['data']);
        self::assertSame(0, $push->counters()['failed']);
    }

    /** @return array<string, array{bool}> */
    public static function modes(): array
    {
        return ['at once' => [false], 'deferred' => [true]];
    }

    public function testADaemonThatRestartsGetsWhatWasCalledMeanwhileOnceAndInOrder(): void
    {
        $daemon = new Daemon();
        $push = self::publisher($daemon->url);
        $push->broadcastToConversation(42, 'n', -1)->orThrow();
        $daemon->process->kill();
        $from = microtime(true);
        for ($n = 0; $n < 50; $n++) {
            self::assertSame(Outcome::QUEUED, $push->broadcastToConversation(42, 'n', $n)->status);
        }
        self::assertLessThan(1, microtime(true) - $from);
        $daemon->run();
        self::assertTrue($push->flush());
        $push->broadcastToConversation(42, 'n', 50)->orThrow();
        $events = $push->query()->events('conversation:42')['events'];
        self::assertSame(range(0, 50), array_map('intval', array_column($events, 'data')));
        self::assertSame(52, $push->counters()['done']);
        self::assertTrue($push->counters()['reachable']);
    }

    /** @dataProvider transports */
    public function testAStoppedDaemonHangsNoCallerAndHasEveryEventOnceWhenItGoesOn(bool $curl): void
    {
        $daemon = new Daemon();
        // What is tried and times out may be with the daemon all the same: the keys keep it from counting twice.
        $push = self::publisher($daemon->url, timeout: 0.2, queryTimeout: 0.2, minBackoff: 0.5, maxBackoff: 0.5, curl: $curl);
        $anna = $daemon->stream('userId=anna&sessionId=s1&conversationId=42');
        $daemon->process->stop();
        $from = microtime(true);
        for ($n = 0; $n < 30; $n++) {
            self::assertSame(Outcome::QUEUED, $push->sendToUser('anna', 'n', $n)->status);
            self::assertFalse($push->hasConnection('anna'));
        }
        self::assertLessThan(2, microtime(true) - $from);
        $daemon->process->signal(18);
        self::assertTrue($push->flush());
        $push->sendToUser('anna', 'n', 30);
        self::assertSame(range(0, 30), $anna->take(31));
    }

    public function testAnEventThatIsRefusedHoldsUpNoOther(): void
    {
        $daemon = new Daemon();
        $heard = [];
        $onError = function (SidestreamException $error, int $count, bool $isRetrying) use (&$heard): void {
            $heard[] = [$error->getMessage(), $count, $isRetrying];
        };
        $push = self::publisher($daemon->url, defer: true, onError: $onError);
        $anna = $daemon->stream('userId=anna&sessionId=s1&conversationId=42');
        $push->sendToUser('anna', 'n', 1);
        $refused = $push->publish(['user' => 'anna', 'event' => '', 'data' => 2]);
        $push->sendToUser('anna', 'n', 3);
        self::assertTrue($push->flush());
        self::assertSame([1, 3], $anna->take(2));
        self::assertSame(Outcome::FAILED, $refused->status);
        self::assertSame(['refused', 400, 'event'], [$refused->error->kind, $refused->error->status, $refused->error->problem['field']]);
        self::assertSame([['POST /publish: 400 `event` is empty', 1, false]], $heard);
        $this->expectException(SidestreamException::class);
        $refused->orThrow();
    }

    public function testAWrongKeyFailsAtOnceAndAKeyMayBeAskedForAtEachRequest(): void
    {
        $daemon = new Daemon();
        $keys = ['wrong', Daemon::KEY];
        $push = self::publisher($daemon->url, key: function () use (&$keys): string {
            return array_shift($keys);
        });
        self::assertSame(401, $push->sendToAll('n', 1)->error->status);
        self::assertTrue($push->sendToAll('n', 2)->ok);
        $push = self::publisher($daemon->url, key: 'time', throws: true); // a string, not a function's name
        try {
            $push->sendToAll('n', 1);
            self::fail('it has to throw');
        } catch (SidestreamException $error) {
            self::assertSame(401, $error->status);
        }
    }

    public function testTopicsPresenceTheLogAndRevocations(): void
    {
        $daemon = new Daemon();
        $push = self::publisher($daemon->url);
        $anna = $daemon->stream('userId=anna&sessionId=s1&conversationId=42');
        $position = $push->query()->position();
        self::assertSame(['a', 'b'], $push->setTopics(['user' => 'anna'], ['a', 'b'])->orThrow()['topics']);
        self::assertSame(['b', 'c'], $push->changeTopics(['user' => 'anna'], add: ['c'], remove: ['a'])->orThrow()['topics']);
        self::assertSame(['b', 'c'], $push->query()->givenTopics(['user' => 'anna']));
        self::assertSame(1, $push->giveTopics(['client' => $anna->client], ['d'])->orThrow()['streams']);
        $push->sendToTopic('d', 'n', ['text' => 'ä', 'none' => []])->orThrow();
        self::assertSame([['text' => 'ä', 'none' => []]], $anna->take(1));
        $events = $push->query()->events('d', since: $position)['events'];
        self::assertSame(['{"text":"ä","none":[]}'], array_column($events, 'data'));
        self::assertSame(1, $push->retract('d', $events[0]['id'])->orThrow()['retracted']);
        self::assertSame($events[0]['id'], $anna->next()['data']['id']);
        self::assertSame(0, $push->retract('d')->orThrow()['retracted']);
        self::assertSame(['topic' => 'd'], $anna->next()['data']);
        self::assertTrue($push->closeTopic('d')->orThrow()['changed']);
        self::assertSame(['topic' => 'd'], $anna->next()['data']);
        self::assertTrue($push->openTopic('d')->orThrow()['changed']);
        self::assertSame(['asked' => 0], $push->pollNow('/status?of=anna')->orThrow());
        self::assertFalse($push->pollNow('/elsewhere')->ok);
        self::assertFalse($push->pollNow('status')->ok);

        self::eventually('anna is online', static fn () => $push->isOnline('anna'));
        self::assertSame(['anna' => true, 'ben' => false], $push->query()->users(['anna', 'ben']));
        self::assertSame(1, $push->query()->user('anna')['streams']);
        self::assertSame(['anna'], $push->query()->topic('conversation:42')['users']);
        self::assertSame('anna', $push->query()->connection($anna->client)['user']);
        self::assertNull($push->query()->connection('nobody'));

        self::assertSame(1, $push->revoke(['user' => 'anna', 'for' => '1m'])->orThrow()['ended']);
        self::assertSame('revoked', $anna->next()['data']['reason']);
    }

    public function testItsWebhooksAreKnownByTheirSignature(): void
    {
        $secret = 'please-make-one-with-openssl-rand-hex-32';
        $hook = new Scripted('return [200, ["raw" => 1]];');
        $daemon = new Daemon(Daemon::ROUTE . <<<TOML


            [[webhook]]
            name   = "app"
            url    = "$hook->url/"
            secret = "$secret"
            events = ["connected"]
            TOML);
        $anna = $daemon->stream('userId=anna&sessionId=s1&conversationId=42');
        self::eventually('a webhook', static fn () => $hook->requests() !== []);
        [$request] = $hook->requests();
        preg_match('~^sidestream-signature: (.*?)\r?$~mi', $request['head'], $header);
        $body = $request['raw'];
        self::assertTrue(Webhook::verify($secret, $header[1], $body));
        self::assertFalse(Webhook::verify('another', $header[1], $body));
        self::assertFalse(Webhook::verify('', $header[1], $body));
        self::assertFalse(Webhook::verify($secret, $header[1], "$body "));
        self::assertFalse(Webhook::verify($secret, null, $body));
        self::assertFalse(Webhook::verify($secret, 't=,v1', $body));
        self::assertFalse(Webhook::verify($secret, str_replace('t=', 't=1', $header[1]), $body));
        self::assertSame($anna->client, $request['body']['events'][0]['client']);
    }
}
