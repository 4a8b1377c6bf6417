<?php

declare(strict_types=1);

namespace Sidestream;

/** Why something did not happen. */
final class SidestreamException extends \RuntimeException
{
    /** No connection, no answer in time, or the answer broke off. */
    public const UNREACHABLE = 'unreachable';
    /** The daemon is there and cannot do it now: 408, 429, 5xx. */
    public const UNAVAILABLE = 'unavailable';
    /** The daemon refused it, and would again: 400, 401, 403, 404, 409, 413. */
    public const REFUSED = 'refused';
    /** What answers is not sidestream. */
    public const BAD_ANSWER = 'bad_answer';
    /** The call itself cannot be carried out: no name, data that is no JSON. */
    public const INVALID = 'invalid';
    /** The queue was full. */
    public const DROPPED = 'dropped';
    /** It was tried for `giveUpAfter` without success. */
    public const GIVEN_UP = 'given_up';
    /** The request, or the process, was over before it could be sent. */
    public const CLOSED = 'closed';

    /**
     * @param array<string, mixed>|null $problem The JSON of the daemon's answer.
     * @param float|null $retryAfter Seconds that the daemon asks to wait for.
     * @param bool $unknown Whether it may have happened all the same: it was sent, and no answer came.
     */
    public function __construct(
        string $message,
        public string $kind,
        public ?int $status = null,
        public ?array $problem = null,
        public ?float $retryAfter = null,
        public bool $unknown = false,
        ?\Throwable $previous = null,
    ) {
        parent::__construct($message, $status ?? 0, $previous);
    }

    /** Whether the same request may succeed a moment later. */
    public function isTemporary(): bool
    {
        return $this->kind === self::UNREACHABLE || $this->kind === self::UNAVAILABLE;
    }
}
