<?php

declare(strict_types=1);

// The classes without Composer, as its autoloader would find them.
spl_autoload_register(static function (string $class): void {
    foreach (['Sidestream\\Tests\\' => __DIR__ . '/', 'Sidestream\\' => __DIR__ . '/../src/'] as $prefix => $folder) {
        if (str_starts_with($class, $prefix)) {
            require $folder . str_replace('\\', '/', substr($class, strlen($prefix))) . '.php';

            return;
        }
    }
});
