<?php

declare(strict_types=1);

namespace Sidestream\Tests;

/** The real one, on ports of its own. */
final class Daemon
{
    public const KEY = 'test-key';
    public const ROUTE = <<<'TOML'
        [[stream]]
        path    = "/events"
        auth    = "none"
        user    = "{query.userId}"
        session = "{query.sessionId}"
        topics  = ["conversation:{query.conversationId}"]

        [[stream]]
        path   = "/status"
        source = "poll"

        [sse]
        heartbeat = "0s"
        TOML;

    public string $public = '127.0.0.1:0';
    public string $internal = '127.0.0.1:0';
    public string $url;
    public Process $process;
    private string $file;

    public function __construct(string $config = self::ROUTE)
    {
        $this->file = tempnam(sys_get_temp_dir(), 'sidestream-') . '.toml';
        file_put_contents($this->file, $config);
        $this->run();
    }

    /** Starts it, or starts it again where it listened before. */
    public function run(): void
    {
        $binary = getenv('SIDESTREAM_BIN') ?: __DIR__ . '/../../../target/debug/sidestream';
        if (!is_executable($binary)) {
            throw new \RuntimeException("$binary is not there: cargo build, or set SIDESTREAM_BIN");
        }
        $this->process = new Process([$binary, 'serve', '--config', $this->file], [
            'SIDESTREAM_PUBLIC_LISTEN' => '127.0.0.1:0',
            'SIDESTREAM_PUBLIC_BACKEND' => 'http://127.0.0.1:9',
            'SIDESTREAM_INTERNAL_LISTEN' => $this->internal,
            'SIDESTREAM_INTERNAL_PUBLISH_KEYS' => self::KEY,
            'SIDESTREAM_TELEMETRY_LOG_FORMAT' => 'json',
        ]);
        do {
            $said = json_decode($this->process->line(2), true);
        } while (($said['message'] ?? '') !== 'listening');
        [$this->public, $this->internal] = [$said['public'], $said['internal']];
        $this->url = "http://$this->internal";
    }

    public function stream(string $query): Stream
    {
        return new Stream($this->public, $query);
    }

    public function __destruct()
    {
        unlink($this->file);
        unlink(substr($this->file, 0, -5));
    }
}
