<?php

declare(strict_types=1);

namespace Sidestream;

final class Webhook
{
    /**
     * Whether `$header` (`sidestream-signature`) signs `$body` with `$secret`, and is not older than `$tolerance` seconds.
     * `$body` has to be the bytes as they came: `file_get_contents('php://input')`. Compares in constant time; never throws.
     */
    public static function verify(string $secret, ?string $header, string $body, int $tolerance = 300): bool
    {
        $time = '';
        $given = [];
        foreach (explode(',', $header ?? '') as $part) {
            [$name, $value] = explode('=', trim($part), 2) + ['', ''];
            if ($name === 't' && $time === '') {
                $time = $value;
            } elseif ($name === 'v1') {
                $given[] = $value;
            }
        }
        if ($secret === '' || preg_match('/^\d{1,12}$/D', $time) !== 1 || abs(time() - (int) $time) > $tolerance) {
            return false;
        }
        $expected = hash_hmac('sha256', "$time.$body", $secret);
        foreach ($given as $one) {
            if (hash_equals($expected, $one)) {
                return true;
            }
        }

        return false;
    }
}
