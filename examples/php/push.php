<?php
// The publisher, one for the request. With Composer: `composer require sidestream/client`, and its `vendor/autoload.php`
// in place of these lines.
declare(strict_types=1);

spl_autoload_register(function (string $class): void {
    if (str_starts_with($class, 'Sidestream\\')) {
        require __DIR__ . '/../../clients/php/src/' . substr($class, strlen('Sidestream\\')) . '.php';
    }
});

function push(): Sidestream\Publisher
{
    static $push = null;
    // Sends at the end of the request, with PHP-FPM after the answer has gone out.
    return $push ??= new Sidestream\Publisher(defer: true);
}
