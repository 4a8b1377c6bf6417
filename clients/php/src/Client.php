<?php

declare(strict_types=1);

namespace Sidestream;

/**
 * One request within a time limit. With the curl extension over a connection that is kept; without, by PHP's own sockets, one
 * connection a request.
 *
 * @internal
 */
final class Client
{
    private const ANSWER_MAX = 16 * 1024 * 1024;

    private string $scheme;
    private string $host;
    private int $port;
    private string $base;
    private ?\CurlHandle $curl = null;
    private int $pid;

    /** @param string|\Closure(): string $key */
    public function __construct(string $url, private string|\Closure $key, private bool $useCurl)
    {
        $parts = parse_url($url);
        $this->scheme = strtolower($parts['scheme'] ?? '');
        $this->host = $parts['host'] ?? '';
        if (!in_array($this->scheme, ['http', 'https'], true) || $this->host === '') {
            throw new \InvalidArgumentException("sidestream: the address must be http://… or https://…, not $url");
        }
        $this->port = $parts['port'] ?? ($this->scheme === 'https' ? 443 : 80);
        $this->base = rtrim($parts['path'] ?? '', '/');
        $this->pid = (int) getmypid();
    }

    /**
     * The answer's JSON.
     *
     * @return array<string, mixed>
     * @throws SidestreamException never later than after `$timeout` seconds
     */
    public function send(string $method, string $path, ?string $body, float $timeout): array
    {
        $what = $method . ' ' . explode('?', $path)[0];
        try {
            $key = is_string($this->key) ? $this->key : ($this->key)();
        } catch (\Throwable $error) {
            $message = "there is no key: {$error->getMessage()}";
            throw new SidestreamException($message, SidestreamException::UNREACHABLE, previous: $error);
        }
        $headers = ['Accept: application/json'];
        if ($key !== '') {
            $headers[] = "Authorization: Bearer $key";
        }
        if ($body !== null) {
            $headers[] = 'Content-Type: application/json';
        }
        $exchange = $this->useCurl ? 'overCurl' : 'overSocket';
        [$status, $retryAfter, $text] = $this->$exchange($what, $method, $this->base . $path, $headers, $body, $timeout);
        $json = json_decode($text, true);
        if ($status >= 200 && $status < 300) {
            if (is_array($json)) {
                return $json;
            }
            throw new SidestreamException("$what: the answer is no JSON", SidestreamException::BAD_ANSWER, $status);
        }
        $problem = is_array($json) && is_string($json['error'] ?? null) ? $json : null;
        $isTemporary = in_array($status, [408, 425, 429], true) || $status >= 500;
        throw new SidestreamException(
            rtrim("$what: $status " . ($problem['error'] ?? '')),
            $isTemporary ? SidestreamException::UNAVAILABLE : SidestreamException::REFUSED,
            $status,
            $problem,
            self::seconds($retryAfter),
            $isTemporary && ($problem['published'] ?? null) !== 'nothing',
        );
    }

    /**
     * @param list<string> $headers
     * @return array{int, ?string, string}
     */
    private function overCurl(
        string $what, string $method, string $path, array $headers, ?string $body, float $timeout
    ): array {
        $curl = $this->handle();
        $retryAfter = null;
        $text = '';
        $isTooLarge = false;
        $host = str_contains($this->host, ':') && $this->host[0] !== '[' ? "[$this->host]" : $this->host;
        $milliseconds = max(1, (int) ($timeout * 1000));
        curl_setopt_array($curl, [
            CURLOPT_URL => "$this->scheme://$host:$this->port$path",
            CURLOPT_CUSTOMREQUEST => $method,
            // `Expect: 100-continue` would cost a round trip.
            CURLOPT_HTTPHEADER => [...$headers, 'Expect:'],
            CURLOPT_TIMEOUT_MS => $milliseconds,
            CURLOPT_CONNECTTIMEOUT_MS => $milliseconds,
            CURLOPT_NOSIGNAL => true,
            CURLOPT_PROXY => '',
            CURLOPT_PATH_AS_IS => true,
            CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_1,
            CURLOPT_HEADERFUNCTION => function ($_, string $line) use (&$retryAfter): int {
                if (stripos($line, 'retry-after:') === 0) {
                    $retryAfter = trim(substr($line, 12));
                }

                return strlen($line);
            },
            CURLOPT_WRITEFUNCTION => function ($_, string $part) use (&$text, &$isTooLarge): int {
                $text .= $part;
                $isTooLarge = strlen($text) > self::ANSWER_MAX;

                return $isTooLarge ? 0 : strlen($part);
            },
        ]);
        if ($body !== null) {
            curl_setopt($curl, CURLOPT_POSTFIELDS, $body);
        }
        $ok = curl_exec($curl);
        // A handle that is dropped in a destructor at the end must not hold on to what the closures hold.
        $errno = curl_errno($curl);
        $why = curl_error($curl);
        $isOut = curl_getinfo($curl, CURLINFO_CONNECT_TIME) > 0;
        $status = (int) curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        curl_reset($curl);
        if ($ok !== false) {
            return [$status, $retryAfter, $text];
        }
        $why = match (true) {
            $isTooLarge => 'the answer is larger than ' . self::ANSWER_MAX . ' bytes',
            $errno === CURLE_OPERATION_TIMEOUTED => "no answer within $timeout s",
            default => $why,
        };
        throw new SidestreamException("$what: $why", SidestreamException::UNREACHABLE, unknown: $isOut);
    }

    private function handle(): \CurlHandle
    {
        if ($this->pid !== getmypid()) {
            // A process just forked. The connection is the parent's: not to be used, and not to be ended by us.
            static $abandoned = [];
            $abandoned[] = $this->curl;
            $this->curl = null;
            $this->pid = (int) getmypid();
        }

        return $this->curl ??= curl_init();
    }

    /**
     * @param list<string> $headers
     * @return array{int, ?string, string}
     */
    private function overSocket(
        string $what, string $method, string $path, array $headers, ?string $body, float $timeout
    ): array {
        $deadline = microtime(true) + $timeout;
        $isOut = false;
        $fail = static function (string $why) use ($what, &$isOut): SidestreamException {
            return new SidestreamException("$what: $why", SidestreamException::UNREACHABLE, unknown: $isOut);
        };
        $late = "no answer within $timeout s";
        $address = ($this->scheme === 'https' ? 'tls' : 'tcp') . "://$this->host:$this->port";
        $socket = @stream_socket_client($address, $errno, $why, $timeout);
        if ($socket === false) {
            throw $fail($why !== '' ? $why : "no connection to $this->host:$this->port");
        }
        try {
            $isOut = true;
            stream_set_blocking($socket, false);
            $request = "$method $path HTTP/1.1\r\nHost: $this->host:$this->port\r\nConnection: close\r\n"
                . implode('', array_map(static fn (string $header): string => "$header\r\n", $headers))
                . ($body === null ? '' : 'Content-Length: ' . strlen($body) . "\r\n") . "\r\n$body";
            $answer = '';
            while (true) {
                $left = $deadline - microtime(true);
                if ($left <= 0) {
                    throw $fail($late);
                }
                $read = [$socket];
                $write = $request === '' ? [] : [$socket];
                $except = [];
                if (@stream_select($read, $write, $except, (int) $left, (int) (fmod($left, 1) * 1e6)) === false) {
                    usleep(1000); // a signal
                    continue;
                }
                if ($write !== []) {
                    $written = @fwrite($socket, $request);
                    if ($written === false) {
                        throw $fail('the connection broke off');
                    }
                    $request = substr($request, $written);
                }
                if ($read !== []) {
                    // Until there is no more: what TLS has decrypted already wakes no select.
                    while (($part = @fread($socket, 65536)) !== false && $part !== '') {
                        $answer .= $part;
                        if (strlen($answer) > self::ANSWER_MAX) {
                            throw $fail('the answer is larger than ' . self::ANSWER_MAX . ' bytes');
                        }
                    }
                }
                $isOver = feof($socket);
                $parsed = self::parse($answer, $isOver);
                if ($parsed !== null) {
                    return $parsed;
                }
                if ($isOver) {
                    throw $fail('the answer broke off');
                }
            }
        } finally {
            fclose($socket);
        }
    }

    /**
     * An answer, once there is all of it.
     *
     * @return array{int, ?string, string}|null
     */
    private static function parse(string $answer, bool $isOver): ?array
    {
        $parts = explode("\r\n\r\n", $answer, 2);
        if (count($parts) < 2 || preg_match('~^HTTP/1\.[01] (\d{3})~', $parts[0], $line) !== 1) {
            return null;
        }
        $headers = [];
        foreach (array_slice(explode("\r\n", $parts[0]), 1) as $header) {
            [$name, $value] = explode(':', $header, 2) + ['', ''];
            $headers[strtolower($name)] = trim($value);
        }
        $text = $parts[1];
        if (strtolower($headers['transfer-encoding'] ?? '') === 'chunked') {
            $text = self::unchunk($text);
        } elseif (isset($headers['content-length'])) {
            $text = strlen($text) >= (int) $headers['content-length'] ? substr($text, 0, (int) $headers['content-length']) : null;
        } elseif (!$isOver) {
            $text = null;
        }

        return $text === null ? null : [(int) $line[1], $headers['retry-after'] ?? null, $text];
    }

    private static function unchunk(string $text): ?string
    {
        $whole = '';
        while (preg_match('/^([0-9a-f]{1,8})[^\r\n]*\r\n/i', $text, $head) === 1) {
            $size = (int) hexdec($head[1]);
            if ($size === 0) {
                return $whole;
            }
            $from = strlen($head[0]);
            if (strlen($text) < $from + $size + 2) {
                return null;
            }
            $whole .= substr($text, $from, $size);
            $text = substr($text, $from + $size + 2);
        }

        return null;
    }

    private static function seconds(?string $retryAfter): ?float
    {
        if ($retryAfter === null) {
            return null;
        }
        if (preg_match('/^\d{1,9}$/D', $retryAfter) === 1) {
            return (float) $retryAfter;
        }
        $time = strtotime($retryAfter);

        return $time === false ? null : (float) max(0, $time - time());
    }
}
