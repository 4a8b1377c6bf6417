<?php
// Calls a function of the page's code for PHP: its name, then its arguments as JSON. Prints the answer as JSON.
require __DIR__ . '/push.php';

$given = array_map(fn ($text) => json_decode($text), array_slice($argv, 2));
$answer = is_callable($argv[1]) ? $argv[1](...$given) : push()->{$argv[1]}(...$given);
echo json_encode($answer), "\n";
