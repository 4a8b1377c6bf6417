<?php

declare(strict_types=1);

namespace Sidestream;

/** An event without its audience: every `sendTo…` takes it instead of a name and data. */
final class Event
{
    /** @param array<string, mixed> $options `ephemeral`, `ttl`, `coalesce`, `retry`, `except`, `idempotency_key` */
    public function __construct(public string $event, public mixed $data = null, public array $options = [])
    {
    }

    /** @param array<string, mixed> $options */
    public static function notification(mixed $data = null, array $options = []): self
    {
        return new self('notification', $data, $options);
    }

    /** @param array<string, mixed> $options */
    public static function message(mixed $data = null, array $options = []): self
    {
        return new self('message', $data, $options);
    }

    /** @param array<string, mixed> $options */
    public static function update(mixed $data = null, array $options = []): self
    {
        return new self('update', $data, $options);
    }

    /** @param array<string, mixed> $options */
    public static function status(mixed $data = null, array $options = []): self
    {
        return new self('status', $data, $options);
    }

    /**
     * Nobody needs it later: it is delivered live and never replayed.
     *
     * @param array<string, mixed> $options
     */
    public static function typing(mixed $data = null, array $options = []): self
    {
        return new self('typing', $data, $options + ['ephemeral' => true]);
    }
}
