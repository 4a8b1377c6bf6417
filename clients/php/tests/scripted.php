<?php

// An HTTP server whose answers a test writes: `php scripted.php BEHAVIOUR LOG`. BEHAVIOUR is a file that returns a function of
// the request and its number; it gives [status, JSON or text, headers], or null for no answer at all. LOG gets a line a request.

declare(strict_types=1);

[, $behaviour, $log] = $argv;
$answer = require $behaviour;
$server = stream_socket_server('tcp://127.0.0.1:0');
echo stream_socket_get_name($server, false), "\n";
$count = 0;
$connections = [];
while (true) {
    $read = [$server, ...array_column($connections, 'socket')];
    $write = $except = [];
    stream_select($read, $write, $except, 60);
    foreach ($read as $socket) {
        if ($socket === $server) {
            $new = stream_socket_accept($server);
            stream_set_blocking($new, false);
            $connections[(int) $new] = ['socket' => $new, 'text' => ''];
            continue;
        }
        $text = &$connections[(int) $socket]['text'];
        $text .= fread($socket, 1 << 20);
        if (feof($socket)) {
            unset($text, $connections[(int) $socket]);
            fclose($socket);
            continue;
        }
        while (preg_match('~^([A-Z]+) (\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n~s', $text, $head) === 1) {
            $size = preg_match('~^content-length: *(\d+)~mi', $head[3], $length) === 1 ? (int) $length[1] : 0;
            if (strlen($text) < strlen($head[0]) + $size) {
                break;
            }
            $raw = substr($text, strlen($head[0]), $size);
            $body = json_decode($raw, true);
            $text = substr($text, strlen($head[0]) + $size);
            $request = ['method' => $head[1], 'path' => $head[2], 'head' => $head[3], 'body' => $body, 'raw' => $raw,
                'at' => microtime(true), 'from' => stream_socket_get_name($socket, true)];
            file_put_contents($log, json_encode($request) . "\n", FILE_APPEND);
            $said = $answer($request, ++$count);
            if ($said === null) {
                continue;
            }
            [$status, $value, $headers] = $said + [2 => []];
            $value = is_string($value) ? $value : json_encode($value);
            $headers += ['Content-Length' => strlen($value)];
            $lines = implode('', array_map(static fn ($name) => "$name: $headers[$name]\r\n", array_keys($headers)));
            stream_set_blocking($socket, true);
            fwrite($socket, "HTTP/1.1 $status X\r\n$lines\r\n$value");
            stream_set_blocking($socket, false);
            if (($headers['Connection'] ?? '') === 'close') {
                unset($connections[(int) $socket]);
                fclose($socket);
                break;
            }
        }
        unset($text);
    }
}
