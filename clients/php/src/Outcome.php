<?php

declare(strict_types=1);

namespace Sidestream;

/** What became of a call. One that is `queued` changes when it is sent later. */
final class Outcome
{
    /** Not done yet: it will be sent, or is tried again. */
    public const QUEUED = 'queued';
    public const DONE = 'done';
    /** Refused, or tried for too long. */
    public const FAILED = 'failed';
    /** The queue was full, or there was no time left. */
    public const DROPPED = 'dropped';

    public string $status = self::QUEUED;
    public bool $ok = false;
    /** @var array<string, mixed>|null The daemon's answer: of an event `id` and `matched`. */
    public ?array $value = null;
    public ?SidestreamException $error = null;

    /**
     * The daemon's answer, or an exception when it is not done.
     *
     * @return array<string, mixed>
     * @throws SidestreamException
     */
    public function orThrow(): array
    {
        if ($this->value !== null && $this->ok) {
            return $this->value;
        }
        throw $this->error ?? new SidestreamException('not sent yet', SidestreamException::UNREACHABLE);
    }

    /**
     * @internal
     * @param array<string, mixed>|null $value
     */
    public function settle(string $status, ?array $value = null, ?SidestreamException $error = null): self
    {
        [$this->status, $this->ok, $this->value, $this->error] = [$status, $status === self::DONE, $value, $error];

        return $this;
    }
}
