<?php

declare(strict_types=1);

namespace Sidestream;

/** @internal */
final class Url
{
    /**
     * A user, session, client or topic as it is sent.
     *
     * @throws SidestreamException
     */
    public static function name(mixed $name, string $what): string|int
    {
        if ($name instanceof \Stringable) {
            $name = (string) $name;
        }
        if ((!is_string($name) || $name === '') && !is_int($name)) {
            throw new SidestreamException("the $what has no name", SidestreamException::INVALID);
        }

        return $name;
    }

    /** @param array<string, mixed> $parameters */
    public static function query(array $parameters): string
    {
        $given = [];
        foreach ($parameters as $name => $value) {
            if ($value !== null) {
                $text = is_bool($value) ? var_export($value, true) : (string) $value;
                $given[] = rawurlencode((string) $name) . '=' . rawurlencode($text);
            }
        }

        return $given === [] ? '' : '?' . implode('&', $given);
    }

    /**
     * The path of the topics of one user, session or client.
     *
     * @param array<string, mixed> $holder
     * @throws SidestreamException
     */
    public static function topics(array $holder): string
    {
        $kind = array_key_first($holder);
        if (count($holder) !== 1 || !in_array($kind, ['user', 'session', 'client'], true)) {
            $message = 'topics are those of a `user`, a `session` or a `client`';
            throw new SidestreamException($message, SidestreamException::INVALID);
        }

        return "/{$kind}s/" . rawurlencode((string) self::name($holder[$kind], $kind)) . '/topics';
    }
}
