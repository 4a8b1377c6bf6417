// How a backend publishes, in the language that the reader picks: the same envelope in each.

const text = (value) => JSON.stringify(value);

/** JSON as PHP writes it. */
function php(value) {
  if (Array.isArray(value)) return `[${value.map(php).join(', ')}]`;
  if (value && typeof value === 'object') {
    return `[${Object.entries(value).map(([key, item]) => `${single(key)} => ${php(item)}`).join(', ')}]`;
  }
  return typeof value === 'string' ? single(value) : String(value);
}

/** JSON as Python and Ruby write it. */
function literal(value, { pair, yes }) {
  const inner = (item) => literal(item, { pair, yes });
  if (Array.isArray(value)) return `[${value.map(inner).join(', ')}]`;
  if (value && typeof value === 'object') {
    return `{${Object.entries(value).map(([key, item]) => pair(key, inner(item))).join(', ')}}`;
  }
  return value === true ? yes : typeof value === 'string' ? text(value) : String(value);
}

const python = (value) => literal(value, { pair: (key, item) => `${text(key)}: ${item}`, yes: 'True' });
const ruby = (value) => literal(value, { pair: (key, item) => `${key}: ${item}`, yes: 'true' });
const node = (value) => literal(value, { pair: (key, item) => `${key}: ${item}`, yes: 'true' });

const single = (value) => `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
/** A text as a shell takes it. */
const shell = (value) => `'${value.replaceAll("'", `'\\''`)}'`;

export const LANGUAGES = {
  curl: ({ internal, key }, event) =>
    `curl ${internal}/publish \\
  -H 'Authorization: Bearer ${key}' \\
  -d ${shell(text(event))}`,
  Node: ({ internal, key }, event) =>
    `await fetch('${internal}/publish', { method: 'POST',
  headers: { authorization: 'Bearer ${key}' },
  body: JSON.stringify(${node(event)}) });`,
  Python: ({ internal, key }, event) =>
    `import json, urllib.request as http
data = json.dumps(${python(event)}).encode()
http.urlopen(http.Request('${internal}/publish', data, {'Authorization': 'Bearer ${key}'}))`,
  PHP: ({ internal, key }, event) =>
    `file_get_contents('${internal}/publish', false, stream_context_create(['http' => [
  'method' => 'POST', 'header' => "Authorization: Bearer ${key}\\r\\nContent-Type: application/json",
  'content' => json_encode(${php(event)})]]));`,
  Ruby: ({ internal, key }, event) =>
    `require 'net/http'; require 'json'
event = ${ruby(event)}
Net::HTTP.post(URI('${internal}/publish'), event.to_json, 'Authorization' => 'Bearer ${key}')`,
  Go: ({ internal, key }, event) =>
    `request, _ := http.NewRequest("POST", "${internal}/publish", strings.NewReader(\`${text(event)}\`))
request.Header.Set("Authorization", "Bearer ${key}")
response, err := http.DefaultClient.Do(request)`,
  'redis-cli': (_, { topic, ...event }) => `redis-cli PUBLISH sidestream:topic:${topic} ${shell(text(event))}`,
};

export const REDIS_NOTE =
  'Over Redis no key is needed, and the configuration names the Redis: [redis] url = "redis://…". This demo runs without one.';

/** What a page does to hear everything: six lines. */
export const page = (user) => `const events = new EventSource('/events?user=${user}&history=100');
events.addEventListener('message:new', ({ data }) => show(JSON.parse(data)));
events.addEventListener('message:read', ({ data }) => showRead(JSON.parse(data)));
events.addEventListener('typing', ({ data }) => showTyping(JSON.parse(data)));
events.addEventListener('user:online', ({ data }) => showOnline(JSON.parse(data)));
events.addEventListener('reset', () => location.reload());`;
