<?php

declare(strict_types=1);

namespace Sidestream\Tests;

/** An open stream. */
final class Stream
{
    public string $client;
    /** @var resource */
    private $socket;

    public function __construct(string $address, string $query)
    {
        $this->socket = stream_socket_client("tcp://$address", $errno, $why, 10);
        stream_set_timeout($this->socket, 10);
        // HTTP/1.0: an answer without chunks.
        fwrite($this->socket, "GET /events?$query HTTP/1.0\r\nHost: $address\r\n\r\n");
        $status = (string) fgets($this->socket);
        if (!str_contains($status, ' 200 ')) {
            throw new \RuntimeException($status);
        }
        while (trim((string) fgets($this->socket)) !== '') {
        }
        $this->client = $this->next()['data']['client'];
    }

    /** @return array{event: ?string, data: mixed}|null The next event; null at the end. */
    public function next(): ?array
    {
        $event = ['event' => null];
        while (($line = fgets($this->socket)) !== false) {
            $line = rtrim($line, "\r\n");
            if ($line === '' && array_key_exists('data', $event)) {
                return $event;
            }
            [$name, $value] = explode(':', $line, 2) + ['', ''];
            if ($name === 'event') {
                $event['event'] = ltrim($value);
            } elseif ($name === 'data') {
                $event['data'] = json_decode($value, true);
            }
        }
        if (stream_get_meta_data($this->socket)['timed_out']) {
            throw new \RuntimeException('no event within 10 s');
        }

        return null;
    }

    /** @return list<mixed> The data of so many events. */
    public function take(int $count): array
    {
        $all = [];
        while (count($all) < $count) {
            $all[] = $this->next()['data'] ?? throw new \RuntimeException('the stream ended');
        }

        return $all;
    }
}
