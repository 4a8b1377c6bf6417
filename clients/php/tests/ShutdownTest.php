<?php

declare(strict_types=1);

namespace Sidestream\Tests;

use PHPUnit\Framework\TestCase;

/** What happens at the end of a request: whole programs, run as an application would be, and forks. */
final class ShutdownTest extends TestCase
{
    use Harness;

    /** @return array{int, string, string, float} */
    private static function php(string $program, string $url): array
    {
        $from = microtime(true);
        $bootstrap = var_export(__DIR__ . '/bootstrap.php', true);
        $environment = ['SIDESTREAM_URL' => $url, 'SIDESTREAM_KEY' => Daemon::KEY];
        $command = [PHP_BINARY, '-d', 'display_errors=stderr', '-r', "require $bootstrap; use Sidestream\\Publisher;\n$program"];
        $process = new Process($command, $environment);

        return [...$process->end(), microtime(true) - $from];
    }

    public function testTheResponseGoesOutBeforeWhatIsQueuedIsSent(): void
    {
        $server = new Scripted('usleep(100000);' . Scripted::TAKES_ALL);
        // As under PHP-FPM; the application's own shutdown functions still write to the response, and publish.
        [$code, $out, $err] = self::php(<<<'PHP'
            function fastcgi_finish_request() { echo 'finished at ', $GLOBALS['push']->counters()['queued'], "\n"; }
            $push = new Publisher(defer: true);
            $push->sendToAll('n', 1);
            register_shutdown_function(function () use ($push) { $push->sendToAll('n', 2); echo "application\n"; });
            echo "response\n";
            PHP, $server->url);
        self::assertSame([0, "response\napplication\nfinished at 2\n", ''], [$code, $out, $err]);
        self::assertSame([1, 2], $server->sent());
    }

    public function testWhatIsQueuedIsSentWhoeverEndsTheRequest(): void
    {
        $server = new Scripted(Scripted::TAKES_ALL);
        $ends = [
            'exit(3);' => 3,
            'throw new RuntimeException("no");' => 255,
            // An application's function that exits keeps ours from running.
            'register_shutdown_function(fn () => exit(4));' => 4,
            // The variable is gone before the end.
            '(function () { (new Publisher(defer: true))->sendToAll("n", 1); })(); unset($push);' => 0,
        ];
        foreach ($ends as $end => $expected) {
            $before = count($server->sent());
            [$code] = self::php('$push = new Publisher(defer: true); $push->sendToAll("n", 1);' . $end, $server->url);
            self::assertSame($expected, $code, $end);
            self::assertGreaterThan($before, count($server->sent()), $end);
        }
    }

    public function testTheEndOfARequestIsSoonWhileSidestreamIsAwayOrHangs(): void
    {
        $hangs = new Scripted('return null;');
        foreach ([self::nowhere(), $hangs->url] as $url) {
            [$code, $out, $err, $took] = self::php(<<<'PHP'
                $say = function ($error, $count, $isRetrying) { if (!$isRetrying) echo "$count $error->kind\n"; };
                $push = new Publisher(timeout: 0.2, exitDeadline: 0.3, onError: $say);
                for ($n = 0; $n < 6; $n++) $push->sendToAll('n', $n);
                PHP, $url);
            self::assertSame([0, "6 closed\n", ''], [$code, $out, $err]);
            self::assertLessThan(2, $took);
        }
    }

    public function testWhatFailedAtOnceIsSentAtTheEnd(): void
    {
        $server = new Scripted('if ($count <= 2) { return [503, ["error" => "not yet", "published" => "nothing"]]; }'
            . Scripted::TAKES_ALL);
        [$code, , $err] = self::php(<<<'PHP'
            $push = new Publisher(onError: fn () => null);
            for ($n = 0; $n < 3; $n++) $push->sendToAll('n', $n);
            PHP, $server->url);
        self::assertSame([0, ''], [$code, $err]);
        self::assertSame([0, 1, 2], array_column($server->requests()[2]['body'], 'data'));
    }

    /** @requires extension pcntl */
    public function testAForkHasAPublisherOfItsOwn(): void
    {
        $daemon = new Daemon();
        $anna = $daemon->stream('userId=anna&sessionId=s1&conversationId=42');
        [$code, , $err] = self::php(<<<'PHP'
            $push = new Publisher();
            $push->sendToUser('anna', 'n', ['before'])->orThrow();
            $deferred = new Publisher(defer: true);
            $deferred->sendToUser('anna', 'n', ['deferred']);
            $children = [];
            for ($worker = 0; $worker < 3; $worker++) {
                if (($child = pcntl_fork()) === 0) {
                    for ($n = 0; $n < 20; $n++) $push->sendToUser('anna', 'n', [$worker, $n])->orThrow();
                    $deferred->sendToUser('anna', 'n', [$worker, 20]);
                    exit(0);
                }
                $children[] = $child;
            }
            foreach ($children as $child) {
                pcntl_waitpid($child, $status);
                if ($status !== 0) exit(9);
            }
            $push->sendToUser('anna', 'n', ['after'])->orThrow();
            PHP, $daemon->url);
        self::assertSame([0, ''], [$code, $err]);
        $got = $anna->take(3 + 3 * 21);
        $one = array_filter($got, static fn ($data) => count($data) === 1);
        self::assertSame([['before'], ['after'], ['deferred']], array_values($one));
        for ($worker = 0; $worker < 3; $worker++) {
            $mine = array_filter($got, static fn ($data) => $data[0] === $worker);
            self::assertSame(range(0, 20), array_column($mine, 1));
        }
    }
}
