<?php
// Broadcasts with Laravel's own `redis` broadcaster. Arguments: host and port of Redis, the prefix of its channels. Each line on
// stdin is [channel, event, payload]; each is answered by a line.
require 'Illuminate/Broadcasting/autoload.php';
require 'Illuminate/Redis/autoload.php';

use Illuminate\Broadcasting\Broadcasters\RedisBroadcaster;
use Illuminate\Broadcasting\PrivateChannel;
use Illuminate\Container\Container;
use Illuminate\Redis\RedisManager;

[, $host, $port, $prefix] = $argv;
$redis = new RedisManager(new Container(), 'phpredis', ['default' => ['host' => $host, 'port' => (int) $port]]);
$broadcaster = new RedisBroadcaster($redis, 'default', $prefix);
while (($line = fgets(STDIN)) !== false) {
    [$channel, $event, $payload] = json_decode($line, true);
    $broadcaster->broadcast([new PrivateChannel($channel)], $event, $payload);
    echo json_encode(['published' => true]), "\n";
}
