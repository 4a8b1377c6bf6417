<?php

declare(strict_types=1);

namespace Sidestream\Tests;

use Sidestream\Publisher;

trait Harness
{
    private static function publisher(string $url, mixed ...$options): Publisher
    {
        $defaults = ['key' => Daemon::KEY, 'minBackoff' => 0.02, 'maxBackoff' => 0.1, 'onError' => fn () => null];

        return new Publisher($url, ...($options + $defaults));
    }

    private static function eventually(string $what, \Closure $isSo): void
    {
        $deadline = microtime(true) + 10;
        while (!$isSo()) {
            if (microtime(true) > $deadline) {
                self::fail("$what: not within 10 s");
            }
            usleep(20_000);
        }
    }

    /** The address of a port where nobody listens. */
    private static function nowhere(): string
    {
        $server = stream_socket_server('tcp://127.0.0.1:0');
        $address = stream_socket_get_name($server, false);
        fclose($server);

        return "http://$address";
    }

    /** @return array<string, array{bool}> */
    public static function transports(): array
    {
        return ['curl' => [true], 'sockets' => [false]];
    }
}
