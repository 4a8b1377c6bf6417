<?php

declare(strict_types=1);

namespace Sidestream;

/**
 * What is to be carried out, in the order of the calls: bounded, tried again until it is done, refused, or too old. Events that
 * stand behind each other go out as one request.
 *
 * @internal
 */
final class Queue
{
    private const BATCH_BYTES = 256 * 1024;
    // Bookkeeping of a call, so that a bound in bytes holds for many small ones too.
    private const OVERHEAD = 256;

    /** @var list<array{text: ?string, command: ?array{string, string, bool}, bytes: int, at: float, outcome: Outcome}> */
    private array $items = [];
    private int $bytes = 0;
    /** Failed attempts since the last answer. */
    private int $attempts = 0;
    /** Before then nothing is tried. */
    private float $pauseUntil = 0.0;
    private int $most;
    /** How many of the next events go out one by one, because together they were refused. */
    private int $alone = 0;
    private bool $isSending = false;
    private int $done = 0;
    private int $failed = 0;
    private int $dropped = 0;
    private int $retries = 0;
    private ?bool $reachable = null;

    /** @param \Closure(SidestreamException, int, bool): void $onFailure The error, how many calls, whether they are tried again. */
    public function __construct(
        private Client $client,
        private int $maxQueue,
        private int $maxQueueBytes,
        private int $maxBatch,
        private float $timeout,
        private float $giveUpAfter,
        private float $minBackoff,
        private float $maxBackoff,
        private \Closure $onFailure,
    ) {
        $this->most = $maxBatch;
    }

    /**
     * Takes an event, or with `$command` another request: method, path, and whether a 404 says that it is done.
     *
     * @param array{string, string, bool}|null $command
     */
    public function add(?string $text, ?array $command): Outcome
    {
        $outcome = new Outcome();
        $bytes = strlen($text ?? '') + self::OVERHEAD;
        if (count($this->items) >= $this->maxQueue || $this->bytes + $bytes > $this->maxQueueBytes) {
            $message = sprintf('the queue is full (%d calls, %d bytes)', count($this->items), $this->bytes);
            $error = new SidestreamException($message, SidestreamException::DROPPED);
            $this->dropped++;
            $outcome->settle(Outcome::DROPPED, error: $error);
            ($this->onFailure)($error, 1, false);

            return $outcome;
        }
        $this->items[] = compact('text', 'command', 'bytes', 'outcome') + ['at' => microtime(true)];
        $this->bytes += $bytes;

        return $outcome;
    }

    public function isEmpty(): bool
    {
        return $this->items === [];
    }

    public function isFull(): bool
    {
        return count($this->items) >= $this->maxQueue || $this->bytes * 2 > $this->maxQueueBytes;
    }

    /**
     * Sends what is queued, until `$deadline`. With `$patient` it waits through pauses; without, it is left alone after a failure
     * but for one more attempt at once, unless the failure was a time-out.
     */
    public function send(float $deadline, bool $patient): bool
    {
        // A handler of errors may call us again.
        if ($this->isSending) {
            return false;
        }
        $this->isSending = true;
        try {
            $quick = 1;
            while ($this->items !== []) {
                $now = microtime(true);
                $pause = $this->pauseUntil - $now;
                if ($now >= $deadline || ($pause > 0 && (!$patient || $now + $pause >= $deadline))) {
                    return false;
                }
                if ($pause > 0) {
                    usleep((int) ($pause * 1e6));
                }
                $before = $this->attempts;
                $this->attempt(min($this->timeout, $deadline - microtime(true)));
                $wasQuick = microtime(true) - $now < $this->minBackoff;
                if ($this->attempts > $before && $before === 0 && $this->reachable === false && $wasQuick && $quick-- > 0) {
                    usleep(20_000);
                    $this->pauseUntil = 0.0;
                }
            }

            return true;
        } finally {
            $this->isSending = false;
        }
    }

    /** Ends a pause. */
    public function hurry(): void
    {
        $this->pauseUntil = 0.0;
    }

    /** Gives up what is left. */
    public function abandon(): void
    {
        if ($this->items === []) {
            return;
        }
        $message = 'there was no time left to send it';
        $error = new SidestreamException($message, SidestreamException::CLOSED, unknown: $this->attempts > 0);
        $left = $this->items;
        $this->forget();
        $this->dropped += count($left);
        foreach ($left as $item) {
            $item['outcome']->settle(Outcome::DROPPED, error: $error);
        }
        ($this->onFailure)($error, count($left), false);
    }

    /** Begins anew, as in a process just forked: the parent sends what it had queued. */
    public function forget(): void
    {
        $this->items = [];
        $this->bytes = $this->alone = 0;
    }

    /** @return array<string, int|bool|null> */
    public function counters(): array
    {
        return [
            'queued' => count($this->items),
            'queuedBytes' => $this->bytes,
            'done' => $this->done,
            'failed' => $this->failed,
            'dropped' => $this->dropped,
            'retries' => $this->retries,
            'reachable' => $this->reachable,
        ];
    }

    private function attempt(float $timeout): void
    {
        $count = $this->headLength();
        $head = array_slice($this->items, 0, $count);
        [$method, $path, $gone] = $head[0]['command'] ?? ['POST', '/publish?partial=true', false];
        $body = $head[0]['command'] !== null ? $head[0]['text'] : '[' . implode(',', array_column($head, 'text')) . ']';
        try {
            $answer = $this->client->send($method, $path, $body, $timeout);
        } catch (SidestreamException $error) {
            $this->reachable = $error->status !== null;
            if (!$error->isTemporary()) {
                $this->attempts = 0;
            }
            if ($error->status === 404 && $gone) {
                // What was to be closed is gone, perhaps by the request whose answer was lost.
                $this->take(0, ['closed' => 0, 'instances' => [], 'complete' => true]);
            } elseif ($error->status === 413 && $count > 1) {
                $this->most = intdiv($count, 2);
            } elseif ($error->status === 400 && $count > 1) {
                $this->alone = $count;
            } elseif ($error->isTemporary()) {
                $this->pause($error);
            } else {
                $this->fail(array_keys($head), $error);
            }

            return;
        }
        $this->reachable = true;
        $this->attempts = 0;
        if ($head[0]['command'] !== null) {
            $this->take(0, $answer);

            return;
        }
        $results = $answer['events'] ?? null;
        if (!is_array($results) || count($results) !== $count) {
            $message = "POST /publish: the answer is not sidestream's";
            $this->fail(array_keys($head), new SidestreamException($message, SidestreamException::BAD_ANSWER));

            return;
        }
        // Those that the daemon could not take just then stay where they are, and are tried again.
        $again = null;
        $stay = 0;
        foreach (array_values($results) as $result) {
            $error = self::refusal($result);
            if ($error === null) {
                $this->take($stay, $result);
            } elseif ($error->isTemporary()) {
                $again = $error;
                $stay++;
            } else {
                $this->fail([$stay], $error);
            }
        }
        if ($again !== null) {
            $this->pause($again);
        }
    }

    /** How many go into the next request: one command, or the events up to the next one. */
    private function headLength(): int
    {
        $most = $this->alone > 0 ? 1 : $this->most;
        $bytes = 0;
        foreach ($this->items as $at => $item) {
            $bytes += $item['bytes'];
            if ($at > 0 && ($item['command'] !== null || $at >= $most || $bytes > self::BATCH_BYTES)) {
                return $at;
            }
            if ($item['command'] !== null) {
                return 1;
            }
        }

        return count($this->items);
    }

    /** Nothing is tried for a while; what has become too old is given up. */
    private function pause(SidestreamException $error): void
    {
        $this->attempts++;
        $old = 0;
        while ($old < count($this->items) && $this->items[$old]['at'] <= microtime(true) - $this->giveUpAfter) {
            $old++;
        }
        if ($old > 0) {
            $this->fail(range(0, $old - 1), new SidestreamException(
                "given up after $this->giveUpAfter s: {$error->getMessage()}",
                SidestreamException::GIVEN_UP,
                $error->status,
                $error->problem,
                unknown: $error->unknown,
                previous: $error,
            ));
        }
        if ($this->items === []) {
            return;
        }
        $this->retries++;
        $most = min($this->maxBackoff, $this->minBackoff * 2 ** min($this->attempts - 1, 30));
        $asked = min($error->retryAfter ?? 0, max($this->maxBackoff, 30));
        $this->pauseUntil = microtime(true) + $asked + $most * (0.5 + mt_rand() / mt_getrandmax() / 2);
        ($this->onFailure)($error, count($this->items), true);
    }

    /** @param array<string, mixed> $value */
    private function take(int $at, array $value): void
    {
        [$item] = array_splice($this->items, $at, 1);
        $this->bytes -= $item['bytes'];
        $this->alone = max(0, $this->alone - 1);
        $this->done++;
        $item['outcome']->settle(Outcome::DONE, $value);
    }

    /** @param list<int> $places in a row */
    private function fail(array $places, SidestreamException $error): void
    {
        foreach (array_splice($this->items, $places[0], count($places)) as $item) {
            $this->bytes -= $item['bytes'];
            $item['outcome']->settle(Outcome::FAILED, error: $error);
        }
        $this->alone = max(0, $this->alone - count($places));
        $this->failed += count($places);
        ($this->onFailure)($error, count($places), false);
    }

    /** What the daemon says against one event of several; null when it is published. */
    private static function refusal(mixed $result): ?SidestreamException
    {
        if (!is_array($result) || !isset($result['error'])) {
            return is_array($result) ? null : new SidestreamException(
                "POST /publish: the answer is not sidestream's",
                SidestreamException::BAD_ANSWER,
            );
        }
        $status = (int) ($result['status'] ?? 0);
        // The sentence counts the events of a request that the caller has never seen.
        $said = preg_replace('/^item \d+ \(counted from 0\): /', '', (string) $result['error']);
        $kind = $status >= 500 || $status === 429 ? SidestreamException::UNAVAILABLE : SidestreamException::REFUSED;
        $problem = ['error' => $said] + $result;

        return new SidestreamException(
            "POST /publish: $status $said",
            $kind,
            $status,
            $problem,
            unknown: ($result['published'] ?? null) === 'unknown',
        );
    }
}
