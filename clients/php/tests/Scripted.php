<?php

declare(strict_types=1);

namespace Sidestream\Tests;

/** A server whose answers a test writes, in PHP: a function of `$request` and `$count`. */
final class Scripted
{
    public const TAKES_ALL = <<<'PHP'
        return [200, ['events' => array_map(fn ($at) => ['id' => "1-$at", 'matched' => 0], array_keys($request['body'])),
            'refused' => 0]];
        PHP;

    public string $url;
    private string $folder;
    private Process $process;

    public function __construct(string $body)
    {
        $this->folder = tempnam(sys_get_temp_dir(), 'sidestream-');
        touch("$this->folder.log");
        file_put_contents("$this->folder.php", "<?php\nreturn function (array \$request, int \$count) {\n$body\n};\n");
        $this->process = new Process([PHP_BINARY, __DIR__ . '/scripted.php', "$this->folder.php", "$this->folder.log"]);
        $this->url = 'http://' . trim($this->process->line(1));
    }

    /** @return list<array<string, mixed>> What came. */
    public function requests(): array
    {
        return array_map(static fn ($line) => json_decode($line, true), file("$this->folder.log"));
    }

    /** @return list<mixed> The data of all events that came. */
    public function sent(): array
    {
        return array_column(array_merge(...array_column($this->requests(), 'body')), 'data');
    }

    public function __destruct()
    {
        foreach (['', '.log', '.php'] as $suffix) {
            unlink($this->folder . $suffix);
        }
    }
}
