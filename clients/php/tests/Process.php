<?php

declare(strict_types=1);

namespace Sidestream\Tests;

/** A process that ends with the test. */
final class Process
{
    /** @var resource */
    private $process;
    /** @var array<int, resource> */
    private array $pipes = [];

    /**
     * @param list<string> $command
     * @param array<string, string> $environment
     */
    public function __construct(array $command, array $environment = [])
    {
        $pipes = [1 => ['pipe', 'w'], 2 => ['pipe', 'w']];
        $this->process = proc_open($command, [['file', '/dev/null', 'r']] + $pipes, $this->pipes, null, $environment + getenv());
    }

    /** A line of its output (1) or its log (2). */
    public function line(int $from): string
    {
        $line = fgets($this->pipes[$from]);
        if ($line === false) {
            throw new \RuntimeException('the process ended: ' . stream_get_contents($this->pipes[2]));
        }

        return $line;
    }

    /** @return array{int, string, string} Its exit code, and what it wrote. */
    public function end(): array
    {
        [$out, $err] = [stream_get_contents($this->pipes[1]), stream_get_contents($this->pipes[2])];

        return [proc_close($this->process), $out, $err];
    }

    public function signal(int $signal): void
    {
        proc_terminate($this->process, $signal);
    }

    /** Stops it, and waits until it stands still. */
    public function stop(): void
    {
        $this->signal(19);
        while (!proc_get_status($this->process)['stopped']) {
            usleep(1000);
        }
    }

    public function kill(): void
    {
        $this->signal(9);
        while (proc_get_status($this->process)['running']) {
            usleep(5000);
        }
    }

    public function __destruct()
    {
        if (is_resource($this->process)) {
            $this->kill();
        }
    }
}
