<?php

declare(strict_types=1);

namespace Sidestream;

/**
 * Publishes to sidestream. No call that sends ever throws, unless `throws` asks for it, and none takes longer than `timeout`; what
 * is called first is sent first. What could not be sent is tried again with the next call, and at the end of the request.
 */
final class Publisher
{
    private const SAY_EVERY = 10.0;

    private Client $client;
    private Queue $queue;
    private Queries $queries;
    private \Closure $conversationTopic;
    private string $idempotency;
    private int $sent = 0;
    private int $pid;
    private float $saidAt = -INF;
    private int $unsaid = 0;

    /** @var array<int, self> Those that have something queued: their calls outlive the variables that held them. */
    private static array $pending = [];
    private static int $watches = 0;

    /**
     * All times are seconds.
     *
     * @param string|null $url The daemon's internal listener. Default: SIDESTREAM_URL, or http://127.0.0.1:8081.
     * @param string|(callable(): string)|null $key One of `internal.publish_keys`, or what gives it. Default: SIDESTREAM_KEY, or
     *     SIDESTREAM_PUBLISH_KEY.
     * @param bool $defer Whether calls are sent together after the response instead of at once.
     * @param bool $finishRequest Whether the response goes out (`fastcgi_finish_request`) before what is queued is sent.
     * @param bool $throws Whether a call that fails throws. One that is queued does not.
     * @param float $timeout How long a request may take.
     * @param float $queryTimeout How long a question may take.
     * @param float $giveUpAfter For how long a call is tried; below the daemon's `log.idempotency_window` (10 min).
     * @param float $exitDeadline How long the end of the request waits for what is queued.
     * @param int $maxBatch Events in one request, at most the daemon's `internal.max_batch`.
     * @param (callable(string|int): string)|null $conversationTopic The topic of a conversation. Default: `conversation:<id>`.
     * @param (callable(SidestreamException, int, bool): mixed)|null $onError Hears of everything that fails: the error, how many
     *     calls it is about, and whether they will be tried again. Default: one line in ten seconds to `error_log`.
     * @param bool|null $curl Whether to use the curl extension. Default: if it is there.
     * @throws \InvalidArgumentException when the address is none
     */
    public function __construct(
        ?string $url = null,
        string|callable|null $key = null,
        private bool $defer = false,
        private bool $finishRequest = true,
        private bool $throws = false,
        float $timeout = 1.0,
        float $queryTimeout = 2.0,
        float $giveUpAfter = 60.0,
        private float $exitDeadline = 2.0,
        int $maxQueue = 1_000,
        int $maxQueueBytes = 8 * 1024 * 1024,
        int $maxBatch = 500,
        float $minBackoff = 0.1,
        float $maxBackoff = 5.0,
        ?callable $conversationTopic = null,
        private mixed $onError = null,
        ?bool $curl = null,
    ) {
        $url ??= getenv('SIDESTREAM_URL') ?: 'http://127.0.0.1:8081';
        $key ??= getenv('SIDESTREAM_KEY') ?: (getenv('SIDESTREAM_PUBLISH_KEY') ?: '');
        // A key is a string before it is a function's name.
        $key = is_string($key) ? $key : \Closure::fromCallable($key);
        $this->client = new Client($url, $key, $curl ?? extension_loaded('curl'));
        $this->queue = new Queue(
            $this->client, $maxQueue, $maxQueueBytes, $maxBatch, $timeout, $giveUpAfter, $minBackoff, $maxBackoff,
            \Closure::fromCallable([$this, 'report'])
        );
        $this->queries = new Queries($this->client, $queryTimeout);
        $topic = $conversationTopic ?? static fn (string|int $id): string => "conversation:$id";
        $this->conversationTopic = \Closure::fromCallable($topic);
        $this->begin();
    }

    // --- sending

    /**
     * Sends an event to the audience of the envelope.
     *
     * @param array<string, mixed> $envelope See docs/publishing.md.
     */
    public function publish(array $envelope): Outcome
    {
        return $this->guarded(fn (): Outcome => $this->envelope($envelope));
    }

    /**
     * To all streams of a user.
     *
     * @param string|int|\Stringable $user
     * @param array<string, mixed> $options `ephemeral`, `ttl`, `coalesce`, `retry`, `except`, `idempotency_key`
     */
    public function sendToUser(mixed $user, string|Event|null $event, mixed $data = null, array $options = []): Outcome
    {
        return $this->to('user', $user, $event, $data, $options);
    }

    /**
     * To all streams of several users. For nobody it is done at once.
     *
     * @param iterable<string|int|\Stringable> $users
     * @param array<string, mixed> $options
     */
    public function sendToUsers(mixed $users, string|Event|null $event, mixed $data = null, array $options = []): Outcome
    {
        return $this->guarded(function () use ($users, $event, $data, $options): Outcome {
            if (!is_iterable($users)) {
                throw new SidestreamException('`users` has to be a list of users', SidestreamException::INVALID);
            }
            $names = [];
            foreach ($users as $user) {
                $names[] = Url::name($user, 'user');
            }
            if ($names === []) {
                return (new Outcome())->settle(Outcome::DONE, ['id' => null, 'matched' => 0]);
            }

            return $this->envelope(['users' => $names] + self::event($event, $data, $options));
        });
    }

    /**
     * To all streams of a session.
     *
     * @param string|int|\Stringable $session
     * @param array<string, mixed> $options
     */
    public function sendToSession(mixed $session, string|Event|null $event, mixed $data = null, array $options = []): Outcome
    {
        return $this->to('session', $session, $event, $data, $options);
    }

    /**
     * To a single stream, by the `client` of its `connected` event.
     *
     * @param string|\Stringable $client
     * @param array<string, mixed> $options
     */
    public function sendToClient(mixed $client, string|Event|null $event, mixed $data = null, array $options = []): Outcome
    {
        return $this->to('client', $client, $event, $data, $options);
    }

    /**
     * To all streams that hold a topic.
     *
     * @param string|int|\Stringable $topic
     * @param array<string, mixed> $options
     */
    public function sendToTopic(mixed $topic, string|Event|null $event, mixed $data = null, array $options = []): Outcome
    {
        return $this->to('topic', $topic, $event, $data, $options);
    }

    /**
     * To all streams of a conversation, but those of `$exceptUser`.
     *
     * @param string|int|\Stringable $id
     * @param string|int|\Stringable|null $exceptUser
     * @param array<string, mixed> $options
     */
    public function broadcastToConversation(
        mixed $id, string|Event|null $event, mixed $data = null, mixed $exceptUser = null, array $options = []
    ): Outcome {
        return $this->guarded(function () use ($id, $event, $data, $exceptUser, $options): Outcome {
            $envelope = self::event($event, $data, $options);
            $envelope['topic'] = ($this->conversationTopic)(Url::name($id, 'conversation'));
            if ($exceptUser !== null && $exceptUser !== '') {
                $envelope['except'] = ['user' => Url::name($exceptUser, 'user')] + ($envelope['except'] ?? []);
            }

            return $this->envelope($envelope);
        });
    }

    /**
     * To every stream.
     *
     * @param array<string, mixed> $options
     */
    public function sendToAll(string|Event|null $event, mixed $data = null, array $options = []): Outcome
    {
        return $this->publish(['broadcast' => true] + self::event($event, $data, $options));
    }

    // --- steering streams, in the same order as what is sent

    /**
     * Closes a stream. It is done as well when there is no such stream.
     *
     * @param string|\Stringable $client
     * @param array<string, mixed> $closing `reconnect` (false: it shall stay away), `for` (how long, such as "10m")
     */
    public function disconnectClient(mixed $client, array $closing = []): Outcome
    {
        return $this->closeStreams('/connections/%s', $client, $closing, true);
    }

    /**
     * Closes all streams of a user.
     *
     * @param string|int|\Stringable $user
     * @param array<string, mixed> $closing
     */
    public function disconnectUser(mixed $user, array $closing = []): Outcome
    {
        return $this->closeStreams('/users/%s/connections', $user, $closing);
    }

    /**
     * Closes all streams of a session.
     *
     * @param string|int|\Stringable $session
     * @param array<string, mixed> $closing
     */
    public function disconnectSession(mixed $session, array $closing = []): Outcome
    {
        return $this->closeStreams('/sessions/%s/connections', $session, $closing);
    }

    /**
     * Gives topics beside those that the holder has: open streams follow at once.
     *
     * @param array<string, mixed> $holder `['user' => …]`, `['session' => …]` or `['client' => …]`
     * @param array<string|int|\Stringable> $topics
     */
    public function giveTopics(array $holder, array $topics): Outcome
    {
        return $this->topics('POST', $holder, ['add' => $topics]);
    }

    /**
     * Takes topics away.
     *
     * @param array<string, mixed> $holder
     * @param array<string|int|\Stringable> $topics
     */
    public function takeTopics(array $holder, array $topics): Outcome
    {
        return $this->topics('POST', $holder, ['remove' => $topics]);
    }

    /**
     * Takes some away, then adds some, in one step.
     *
     * @param array<string, mixed> $holder
     * @param array<string|int|\Stringable> $add
     * @param array<string|int|\Stringable> $remove
     */
    public function changeTopics(array $holder, array $add = [], array $remove = []): Outcome
    {
        return $this->topics('POST', $holder, ['add' => $add, 'remove' => $remove]);
    }

    /**
     * Gives these topics and no others.
     *
     * @param array<string, mixed> $holder
     * @param array<string|int|\Stringable> $topics
     */
    public function setTopics(array $holder, array $topics): Outcome
    {
        return $this->topics('PUT', $holder, ['topics' => $topics]);
    }

    /**
     * Takes grants back: ends their streams and keeps them out.
     *
     * @param array<string, mixed> $whose `user`, `session`, `token`, `topic`, and `for`
     */
    public function revoke(array $whose): Outcome
    {
        return $this->guarded(fn (): Outcome => $this->add(self::json($whose), ['POST', '/revoke', false]));
    }

    /**
     * Takes back an event of a topic, from all of its recipients; without an id, all that is kept of the topic.
     *
     * @param string|int|\Stringable $topic
     */
    public function retract(mixed $topic, ?string $id = null): Outcome
    {
        return $this->aboutTopic('DELETE', $topic, $id === null ? '' : '/events/' . rawurlencode($id));
    }

    /**
     * Ends a topic: its readers lose it, and later ones do not get it.
     *
     * @param string|int|\Stringable $topic
     */
    public function closeTopic(mixed $topic): Outcome
    {
        return $this->aboutTopic('POST', $topic, '/close');
    }

    /**
     * Lets a topic that has ended begin anew.
     *
     * @param string|int|\Stringable $topic
     */
    public function openTopic(mixed $topic): Outcome
    {
        return $this->aboutTopic('POST', $topic, '/open');
    }

    /** Asks the application at once for what is polled there: `/api/status`, with a query only for those who ask with it. */
    public function pollNow(string $path): Outcome
    {
        return $this->guarded(function () use ($path): Outcome {
            if (!str_starts_with($path, '/')) {
                throw new \InvalidArgumentException('a path begins with a slash');
            }

            return $this->add(null, ['POST', '/poll' . $path, false]);
        });
    }

    // --- asking, as the services that it replaces did: without an answer false, 0 or nobody, and `onError` hears why

    /**
     * Whether a user has an open stream on any instance.
     *
     * @param string|int|\Stringable $user
     */
    public function hasConnection(mixed $user): bool
    {
        return $this->ask(fn (): bool => $this->queries->count(['user' => Url::name($user, 'user')])['total'] > 0, false);
    }

    /**
     * Whether a user is there: also for `presence.grace` after the last stream has ended.
     *
     * @param string|int|\Stringable $user
     */
    public function isOnline(mixed $user): bool
    {
        return $this->ask(fn (): bool => $this->queries->user(Url::name($user, 'user'))['online'], false);
    }

    /**
     * How many streams are open on all instances, all or those of the filter.
     *
     * @param array<string, mixed> $filter
     */
    public function getConnectionCount(array $filter = []): int
    {
        return $this->ask(fn (): int => $this->queries->count($filter)['total'], 0);
    }

    /**
     * All open streams of all instances, or those of the filter, however many pages they are.
     *
     * @param array<string, mixed> $filter
     * @return list<array<string, mixed>>
     */
    public function getActiveConnections(array $filter = []): array
    {
        return $this->ask(fn (): array => [...$this->queries->connections($filter)], []);
    }

    /**
     * Streams by instance, and what this publisher has done.
     *
     * @return array<string, mixed>
     */
    public function getStats(): array
    {
        $nothing = ['total' => 0, 'instances' => [], 'complete' => false];

        return $this->ask(fn (): array => $this->queries->count(), $nothing) + ['publisher' => $this->counters()];
    }

    /** What sidestream can be asked. These throw when there is no answer. */
    public function query(): Queries
    {
        return $this->queries;
    }

    // --- the publisher itself

    /** Where the application's own end of the request has kept ours from running. */
    public function __destruct()
    {
        $this->ownProcess();
        if (!$this->queue->isEmpty()) {
            $this->close($this->exitDeadline);
        }
    }

    /** @return array{queued: int, queuedBytes: int, done: int, failed: int, dropped: int, retries: int, reachable: ?bool} */
    public function counters(): array
    {
        $this->ownProcess();

        return $this->queue->counters();
    }

    /** Sends what is queued; false when that takes longer than `$deadline` seconds. */
    public function flush(float $deadline = 5.0): bool
    {
        $this->ownProcess();
        $this->queue->hurry();
        $all = $this->queue->send(microtime(true) + $deadline, true);
        $this->keep();

        return $all;
    }

    /** Sends what is queued, and gives up what is left after `$deadline` seconds. */
    public function close(float $deadline = 5.0): bool
    {
        $all = $this->flush($deadline);
        $this->queue->abandon();
        $this->keep();

        return $all;
    }

    /** @param array<string, mixed> $envelope */
    private function envelope(array $envelope): Outcome
    {
        $this->ownProcess();
        $envelope += ['data' => null, 'idempotency_key' => $this->idempotency . ++$this->sent];

        return $this->add(self::json($envelope), null);
    }

    /** @param array<string, mixed> $options */
    private function to(string $kind, mixed $name, string|Event|null $event, mixed $data, array $options): Outcome
    {
        return $this->guarded(
            fn (): Outcome => $this->envelope([$kind => Url::name($name, $kind)] + self::event($event, $data, $options))
        );
    }

    /** @param array<string, mixed> $closing */
    private function closeStreams(string $path, mixed $name, array $closing, bool $gone = false): Outcome
    {
        return $this->guarded(function () use ($path, $name, $closing, $gone): Outcome {
            $segment = rawurlencode((string) Url::name($name, 'stream'));

            return $this->add(null, ['DELETE', sprintf($path, $segment) . Url::query($closing), $gone]);
        });
    }

    /**
     * @param array<string, mixed> $holder
     * @param array<string, array<mixed>> $change
     */
    private function topics(string $method, array $holder, array $change): Outcome
    {
        return $this->guarded(function () use ($method, $holder, $change): Outcome {
            $name = static fn (mixed $topic): string|int => Url::name($topic, 'topic');
            $body = array_map(static fn (array $topics): array => array_map($name, array_values($topics)), $change);

            return $this->add(self::json($body), [$method, Url::topics($holder), false]);
        });
    }

    private function aboutTopic(string $method, mixed $topic, string $rest): Outcome
    {
        return $this->guarded(function () use ($method, $topic, $rest): Outcome {
            $segment = rawurlencode((string) Url::name($topic, 'topic'));

            return $this->add(null, [$method, "/topics/$segment$rest", false]);
        });
    }

    /** @param array{string, string, bool}|null $command */
    private function add(?string $text, ?array $command): Outcome
    {
        $this->ownProcess();
        $outcome = $this->queue->add($text, $command);
        if (!$this->defer || $this->queue->isFull()) {
            $this->queue->send(INF, false);
        }
        $this->keep();

        return $outcome;
    }

    /** What a caller passes, and what a caller's own objects throw, becomes an outcome; with `throws` an exception of ours. */
    private function guarded(\Closure $call): Outcome
    {
        try {
            $outcome = $call();
        } catch (\Throwable $cause) {
            $error = $cause instanceof SidestreamException ? $cause : new SidestreamException(
                "the call cannot be sent: {$cause->getMessage()}",
                SidestreamException::INVALID,
                previous: $cause,
            );
            $this->report($error, 1, false);
            $outcome = (new Outcome())->settle(Outcome::FAILED, error: $error);
        }
        if ($this->throws && $outcome->error !== null) {
            throw $outcome->error;
        }

        return $outcome;
    }

    private function ask(\Closure $question, mixed $otherwise): mixed
    {
        try {
            return $question();
        } catch (SidestreamException $error) {
            $this->report($error, 1, false);
        } catch (\Throwable $cause) { // an answer of another shape
            $message = "the answer is not sidestream's: {$cause->getMessage()}";
            $this->report(new SidestreamException($message, SidestreamException::BAD_ANSWER, previous: $cause), 1, false);
        }

        return $otherwise;
    }

    private function report(SidestreamException $error, int $count, bool $isRetrying): void
    {
        try {
            if ($this->onError !== null) {
                ($this->onError)($error, $count, $isRetrying);

                return;
            }
            if (microtime(true) - $this->saidAt < self::SAY_EVERY) {
                $this->unsaid++;

                return;
            }
            $more = $this->unsaid > 0 ? " (and $this->unsaid more like it)" : '';
            [$this->saidAt, $this->unsaid] = [microtime(true), 0];
            error_log("sidestream: {$error->getMessage()}" . ($isRetrying ? '; trying again' : '') . $more);
        } catch (\Throwable $cause) {
            error_log("sidestream: onError threw: {$cause->getMessage()}");
        }
    }

    private function begin(): void
    {
        $this->pid = (int) getmypid();
        $this->idempotency = bin2hex(random_bytes(12)) . '/';
        $this->sent = 0;
    }

    /** A process just forked has the parent's variables: what is queued is the parent's, and the keys have to be others. */
    private function ownProcess(): void
    {
        if ($this->pid !== getmypid()) {
            $this->queue->forget();
            $this->begin();
        }
    }

    /** Sees to it that what is queued is sent at the end. */
    private function keep(): void
    {
        $id = spl_object_id($this);
        if ($this->queue->isEmpty()) {
            unset(self::$pending[$id]);

            return;
        }
        self::$pending[$id] = $this;
        if (self::$watches === 0) {
            self::$watches = 1;
            register_shutdown_function([self::class, 'atShutdown']);
        }
    }

    /** @internal */
    public static function atShutdown(): void
    {
        if (self::$watches === 1) {
            // Once more, behind what the application has registered: that may write to the response, or publish.
            self::$watches = 2;
            register_shutdown_function([self::class, 'atShutdown']);

            return;
        }
        self::$watches = 0;
        $pending = self::$pending;
        self::$pending = [];
        foreach ($pending as $publisher) {
            $publisher->ownProcess();
            if ($publisher->queue->isEmpty()) {
                continue;
            }
            if ($publisher->finishRequest) {
                self::finishRequest();
            }
            $publisher->close($publisher->exitDeadline);
        }
    }

    /** The browser has its answer, and the session is free, before sidestream is waited for. */
    private static function finishRequest(): void
    {
        static $isFinished = false;
        if ($isFinished) {
            return;
        }
        $isFinished = true;
        ignore_user_abort(true);
        if (session_status() === PHP_SESSION_ACTIVE) {
            session_write_close();
        }
        foreach (['fastcgi_finish_request', 'litespeed_finish_request'] as $finish) {
            if (function_exists($finish)) {
                $finish();

                return;
            }
        }
    }

    private static function json(mixed $value): string
    {
        $flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION;

        return json_encode($value, $flags | JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR);
    }

    /**
     * @param array<string, mixed> $options
     * @return array<string, mixed>
     */
    private static function event(string|Event|null $event, mixed $data, array $options): array
    {
        if ($event instanceof Event) {
            return ['event' => $event->event, 'data' => $event->data] + $options + $event->options;
        }

        return ['event' => $event, 'data' => $data] + $options;
    }
}
