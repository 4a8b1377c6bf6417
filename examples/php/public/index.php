<?php
// A board of messages in plain PHP. It has no stream of its own: `/events` never gets here.
declare(strict_types=1);

require __DIR__ . '/../push.php';

const KEPT = 200; // messages of a room that its page gets

$route = $_SERVER['REQUEST_METHOD'] . ' ' . parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
match ($route) {
    'GET /' => readfile(__DIR__ . '/index.html'),
    'GET /api/messages' => answer(200, history(field($_GET, 'room', 40))),
    'POST /api/messages' => write(json_decode(file_get_contents('php://input'), true) ?? []),
    default => answer(404, ['error' => 'There is nothing here.']),
};

function write(array $body): void
{
    $room = field($body, 'room', 40);
    $message = ['author' => field($body, 'author', 40), 'text' => field($body, 'text', 2000), 'at' => date(DATE_ATOM)];
    $message = append($room, $message);
    push()->sendToTopic("room:$room", 'message:new', $message);
    answer(201, $message);
}

/** A file for each room, a line for each message; its number is its id. */
function append(string $room, array $message): array
{
    $file = fopen(path($room), 'c+');
    flock($file, LOCK_EX);
    for ($lines = 0; fgets($file) !== false; $lines++);
    $message = ['id' => $lines + 1] + $message;
    fwrite($file, json_encode($message, JSON_THROW_ON_ERROR) . "\n");
    fclose($file);
    return $message;
}

function history(string $room): array
{
    $lines = is_file(path($room)) ? file(path($room), FILE_IGNORE_NEW_LINES) : [];
    return array_map(fn($line) => json_decode($line, true), array_slice($lines, -KEPT));
}

function path(string $room): string
{
    $folder = __DIR__ . '/../var';
    is_dir($folder) || @mkdir($folder);
    return $folder . '/' . sha1($room) . '.jsonl';
}

/** A text of the request without blanks around it, or the end of the request. */
function field(array $from, string $name, int $most): string
{
    $text = is_string($from[$name] ?? null) ? trim($from[$name]) : '';
    if ($text === '' || strlen($text) > $most * 4) {
        answer(400, ['error' => "A message needs a room, an author and 1 to 2000 characters: `$name` does not fit."]);
        exit;
    }
    return $text;
}

function answer(int $status, array $body): void
{
    http_response_code($status);
    header('content-type: application/json');
    echo json_encode($body, JSON_THROW_ON_ERROR);
}
