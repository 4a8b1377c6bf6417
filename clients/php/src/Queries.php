<?php

declare(strict_types=1);

namespace Sidestream;

/**
 * What sidestream can be asked about streams, users and its log. Every method throws a SidestreamException when there is no
 * answer within `queryTimeout`. Filters of connections are `user`, `session`, `topic`, `client`, `address` and `instance`.
 */
final class Queries
{
    // After a question without an answer the next ones do not wait for theirs.
    private const DEAF_FOR = 1.0;

    private float $deafUntil = 0.0;

    /** @internal */
    public function __construct(private Client $client, private float $timeout)
    {
    }

    /**
     * How many streams are open: `total`, and `instances` with the streams of each.
     *
     * @param array<string, mixed> $filter
     * @return array<string, mixed>
     */
    public function count(array $filter = []): array
    {
        return $this->get('/connections/count' . Url::query($filter));
    }

    /**
     * All open streams, read page by page as they are asked for.
     *
     * @param array<string, mixed> $filter
     * @return iterable<array<string, mixed>>
     */
    public function connections(array $filter = [], int $limit = 1000): iterable
    {
        return $this->pages('/connections', 'connections', $filter + ['limit' => $limit]);
    }

    /**
     * One stream; null when there is none of that name.
     *
     * @return array<string, mixed>|null
     */
    public function connection(string $client): ?array
    {
        try {
            return $this->get('/connections/' . rawurlencode($client));
        } catch (SidestreamException $error) {
            return $error->status === 404 ? null : throw $error;
        }
    }

    /**
     * How many users and streams there are.
     *
     * @return array<string, mixed>
     */
    public function presence(): array
    {
        return $this->get('/presence');
    }

    /**
     * Whether a user is online, and where.
     *
     * @return array<string, mixed>
     */
    public function user(string|int|\Stringable $user): array
    {
        return $this->get('/presence/users/' . rawurlencode((string) $user));
    }

    /**
     * For each of up to 10,000 users whether they are online.
     *
     * @param array<string|int|\Stringable> $users
     * @return array<string, bool>
     */
    public function users(array $users): array
    {
        $names = array_map('strval', array_values($users));
        $online = array_flip($this->post('/presence/users', ['users' => $names])['users']);

        return array_combine($names, array_map(static fn (string $name): bool => isset($online[$name]), $names));
    }

    /**
     * Everybody who is online, by name.
     *
     * @return iterable<string>
     */
    public function online(): iterable
    {
        return $this->pages('/presence/users', 'users', []);
    }

    /**
     * Who is on a topic.
     *
     * @return array<string, mixed>
     */
    public function topic(string|int|\Stringable $topic): array
    {
        return $this->get('/presence/topics/' . rawurlencode((string) $topic));
    }

    /**
     * The topics that a user, session or client has been given.
     *
     * @param array<string, mixed> $holder `['user' => …]`, `['session' => …]` or `['client' => …]`
     * @return list<string>
     */
    public function givenTopics(array $holder): array
    {
        return $this->get(Url::topics($holder))['topics'];
    }

    /** Where the log ends: take it before the snapshot that a page is rendered from. */
    public function position(): string
    {
        return $this->get('/position')['position'];
    }

    /**
     * What the log keeps of a topic: a page behind `$since`, or the `$last` ones.
     *
     * @return array<string, mixed>
     */
    public function events(string|int $topic, ?string $since = null, ?int $limit = null, ?int $last = null): array
    {
        $query = Url::query(['since' => $since, 'limit' => $limit, 'last' => $last]);

        return $this->get('/topics/' . rawurlencode((string) $topic) . '/events' . $query);
    }

    /**
     * A one-time ticket for a stream with `auth = "ticket"`.
     *
     * @param array<string, mixed> $grant `user`, `session`, `topics`, `claims`, `expires_in`, `token_id`
     * @return array<string, mixed>
     */
    public function ticket(array $grant): array
    {
        return $this->post('/tickets', $grant);
    }

    /**
     * @param array<string, mixed> $parameters
     * @return \Generator<int, mixed>
     */
    private function pages(string $path, string $field, array $parameters): \Generator
    {
        $cursor = null;
        do {
            $page = $this->get($path . Url::query($parameters + ['cursor' => $cursor]));
            $all = $page[$field] ?? null;
            if (!is_array($all)) {
                throw new SidestreamException("GET $path: the answer is not sidestream's", SidestreamException::BAD_ANSWER);
            }
            foreach ($all as $one) {
                yield $one;
            }
            $cursor = $page['next'] ?? null;
        } while ($cursor !== null);
    }

    /** @return array<string, mixed> */
    private function get(string $path): array
    {
        return $this->ask('GET', $path, null);
    }

    /**
     * @param array<string, mixed> $body
     * @return array<string, mixed>
     */
    private function post(string $path, array $body): array
    {
        try {
            return $this->ask('POST', $path, json_encode((object) $body, JSON_THROW_ON_ERROR));
        } catch (\JsonException $error) {
            throw new SidestreamException($error->getMessage(), SidestreamException::INVALID, previous: $error);
        }
    }

    /** @return array<string, mixed> */
    private function ask(string $method, string $path, ?string $body): array
    {
        $from = microtime(true);
        if ($from < $this->deafUntil) {
            $message = "$method " . explode('?', $path)[0] . ': sidestream has just not answered';
            throw new SidestreamException($message, SidestreamException::UNREACHABLE);
        }
        try {
            return $this->client->send($method, $path, $body, $this->timeout);
        } catch (SidestreamException $error) {
            if (microtime(true) - $from >= $this->timeout) {
                $this->deafUntil = microtime(true) + self::DEAF_FOR;
            }
            throw $error;
        }
    }
}
